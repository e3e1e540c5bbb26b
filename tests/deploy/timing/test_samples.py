"""What is derived from raw samples: an epoch's value, a report's numbers, the machine's health."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgeprune.deploy.timing.samples import Health, LatencyReport, PairedEpoch, latency

Paired = Callable[..., Any]


def test_an_epoch_is_the_median_ratio_of_the_fastest_runs() -> None:
    candidate = ((200, 900), (900, 100), (400, 900))
    epoch = PairedEpoch(candidate, ((100, 500),) * 3, {})
    assert math.exp(epoch.value) == pytest.approx(2.0)


def test_a_single_epoch_reports_its_range() -> None:
    assert LatencyReport(((1_000_000, 3_000_000),), "cpu", {}).interval_ms == (1.0, 2.0, 3.0)


def test_health_counts_what_disturbed(paired: Paired) -> None:
    quiet = Health.of(paired([1.0] * 4), "cpu")
    assert quiet.preempted == pytest.approx(0.01)
    assert quiet.doubts == ()
    busy = paired([1.0] * 4, steal_ticks=1.0, throttled_us=2500.0)
    slow = replace(busy[0], reference=((3_000_000, 3_000_000),) * 8)
    found = Health.of([*busy, slow], "wall")
    assert found.preempted is None
    assert found.steal == pytest.approx(0.1)
    assert found.throttled_ms == pytest.approx(12.5)
    assert found.modes == pytest.approx(3.0)
    assert len(found.doubts) == 3


def test_a_line_is_read_by_the_place_of_the_candidate() -> None:
    counters = ("cpu_ns", "wall_ns", "ticks", "steal_ticks", "throttled_us", "load")
    line = {"samples": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], **dict.fromkeys(counters, 0.5)}
    epoch = PairedEpoch.of(line, candidate=1)
    assert epoch.candidate == ((3, 4), (7, 8))
    assert epoch.reference == ((1, 2), (5, 6))
    assert epoch.machine == dict.fromkeys(counters, 0.5)


def test_the_numbers_of_a_report() -> None:
    bursts = [((1_000_000, 3_000_000), (2_000_000, 4_000_000)), ((6_000_000,), (8_000_000,))]
    report = latency(bursts, "cpu", {})
    assert report.samples_ms == [1.0, 3.0, 2.0, 4.0, 6.0, 8.0]
    assert (report.median_ms, report.p90_ms) == (3.0, 8.0)
    # Sessions are the unit: medians 2.5 and 7, mean 4.75, t(0.975, 1) = 12.706 times 2.25.
    assert report.interval_ms == pytest.approx((-23.8390, 4.75, 33.3390), abs=1e-3)
    assert report.health is None


def test_joined_reports_keep_every_epoch() -> None:
    first, second = (LatencyReport(((ns,),), "cpu", {}, ({"load": ns},)) for ns in (1, 2))
    both = first.joined(second)
    assert both.epochs_ns == ((1,), (2,))
    assert both.counters == ({"load": 1}, {"load": 2})
