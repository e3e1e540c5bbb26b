"""Exact statistics against scipy, hand arithmetic and MLPerf's published counts."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.deploy.timing.statistics import (
    Interval,
    against,
    binomial_tail,
    mean_interval,
    percentile,
    percentile_verdict,
    t_cdf,
    t_quantile,
)

stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle; the dev extra has it")


@given(st.floats(-50, 50), st.integers(1, 200))
def test_t_cdf_is_scipys(t: float, freedom: int) -> None:
    # scipy is 1.4e-13 off near 0: of t = 4.4e-13 at one degree it says 0.5, not 0.5 + t/pi.
    assert t_cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)


@given(st.floats(0.001, 0.999), st.integers(1, 100))
def test_t_quantile_is_scipys(probability: float, freedom: int) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.integers(1, 300), st.integers(-1, 301), st.integers(1, 99))
def test_binomial_tail_is_scipys(runs: int, least: int, percent: int) -> None:
    expected = stats.binom.sf(least - 1, runs, percent / 100)
    found = float(binomial_tail(runs, least, Fraction(percent, 100)))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_mean_interval_is_the_textbook_one() -> None:
    values = [1.0, 2.0, 4.0, 5.0]
    low, high = stats.t.interval(0.99, 3, loc=3.0, scale=stats.sem(values))
    assert mean_interval(values, 0.01) == pytest.approx((low, 3.0, high), rel=1e-9)


def test_floor_widens_a_too_certain_interval() -> None:
    assert mean_interval([1.0, 1.0, 1.0], 0.01, floor=0.1) == pytest.approx((0.9, 1.0, 1.1))


@pytest.mark.parametrize(
    ("low", "high", "limit", "status"),
    [
        (0.4, 0.5, 0.5, "met"),
        (0.4, 0.6, 0.5, "inconclusive"),
        (0.5, 0.6, 0.5, "inconclusive"),
        (0.51, 0.6, 0.5, "missed"),
    ],
)
def test_against(low: float, high: float, limit: float, status: str) -> None:
    assert against(Interval(low, (low + high) / 2, high), limit) == status


@pytest.mark.parametrize(
    ("percent", "over", "runs"),
    [
        (90, 0, 44),
        (90, 1, 64),  # MLPerf's floor for p90
        (90, 5, 127),
        (95, 0, 90),
        (95, 2, 165),
        (99, 1, 662),  # MLPerf's floor for p99
        (99, 5, 1307),
        (50, 0, 7),
    ],
)
def test_fewest_runs_that_prove_a_percentile(percent: int, over: int, runs: int) -> None:
    assert percentile_verdict(runs, over, percent, 0.01) == "met"
    assert percentile_verdict(runs - 1, over, percent, 0.01) == "inconclusive"


def test_too_many_slow_runs_miss_a_percentile() -> None:
    assert percentile_verdict(64, 30, 90, 0.01) == "missed"
    assert percentile_verdict(64, 8, 90, 0.01) == "inconclusive"
    assert percentile_verdict(3, 3, 50, 0.01) == "inconclusive"


def test_percentile_is_an_observed_value() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, p) for p in (0, 25, 50, 51, 100)] == [1, 1, 2, 3, 4]
