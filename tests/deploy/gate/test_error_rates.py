"""Error rates of the verdicts by simulation: at the limit, and at a known distance from it."""

import numpy as np
import pytest

from benchmarks.error_rates import (
    ALL_LOOKS,
    accuracy_rates,
    accuracy_span,
    epoch_values,
    percentile_rates,
    ratio_rates,
    session_times,
    settled,
)
from edgeprune.deploy.gate.verdicts import by_percentile
from edgeprune.deploy.timing.sequential import settle


def test_many_paths_at_once_are_settled_as_one_by_one() -> None:
    values = epoch_values(300, 0.01, 0.02)
    for path, mid, half, look in zip(values.tolist(), *settled(values), strict=True):
        found = settle(path, 1.0, ALL_LOOKS)
        assert found.epochs == look
        assert found.ratio == pytest.approx(np.exp([mid - half, mid, mid + half]))


@pytest.mark.parametrize("spread", [0.005, 0.02, 0.05])
def test_a_ratio_at_its_limit_is_met_less_than_once_in_100(spread: float) -> None:
    found = ratio_rates(0.0, spread, 60_000)
    assert found.met <= 0.007
    assert found.missed <= 0.007
    assert found.outside <= 0.0105  # the printed interval, after stopping


@pytest.mark.parametrize("over", [-0.05, -0.02, -0.005, 0.005, 0.02, 0.05])
def test_the_printed_interval_holds_the_ratio(over: float) -> None:
    found = ratio_rates(over, 0.02, 20_000)
    assert found.outside <= 0.01
    assert (found.met if over > 0 else found.missed) <= 0.005


@pytest.mark.parametrize(("over", "least"), [(0.02, 0.95), (0.05, 1.0), (-0.02, 0.95)])
def test_a_ratio_2_percent_off_is_settled(over: float, least: float) -> None:
    found = ratio_rates(over, 0.02, 5_000)
    assert (found.missed if over > 0 else found.met) >= least


@pytest.mark.parametrize("percent", [50, 90])
@pytest.mark.parametrize(("offset", "run"), [(0.01, 0.01), (0.01, 0.002), (0.03, 0.15)])
def test_a_percentile_at_its_limit_is_undecided(percent: int, offset: float, run: float) -> None:
    found = percentile_rates(percent, 0.0, offset, run, 400)
    assert found.met <= 0.01
    assert found.missed <= 0.01


@pytest.mark.parametrize("percent", [50, 90])
@pytest.mark.parametrize("over", [-0.01, 0.01])
def test_a_percentile_1_percent_off_is_settled(percent: int, over: float) -> None:
    found = percentile_rates(percent, over, 0.01, 0.01, 200)
    assert (found.missed if over > 0 else found.met) >= 0.99
    assert (found.met if over > 0 else found.missed) == 0


def test_whole_processes_are_judged_like_their_sessions() -> None:
    times = np.exp(session_times(1, 0.01, 0.01)[0]).reshape(12, 16, 8)
    assert by_percentile(times.tolist(), 50, 1.0) == "inconclusive"
    assert by_percentile(times.tolist(), 50, 1.01) == "met"
    assert by_percentile(times.tolist(), 50, 0.99) == "missed"
    assert by_percentile(times[:2].tolist(), 50, 2.0) == "inconclusive"  # no drift shows in two


@pytest.mark.parametrize("images", [200, 597, 10_000])
def test_a_loss_at_its_limit_is_met_less_than_once_in_100(images: int) -> None:
    found = accuracy_rates(images, 3_000)
    assert max(found.met, found.missed) <= 0.01
    assert found.outside <= 0.012


def test_more_images_show_smaller_losses() -> None:
    half, met, missed = accuracy_span(10_000, 0.05)
    assert half == pytest.approx(0.58, abs=0.01)
    assert met < 1 < missed
    assert accuracy_span(597, 0.02)[1] < 0
