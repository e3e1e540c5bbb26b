"""Exact statistics against scipy, hand arithmetic and MLPerf's published counts."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgeprune.deploy.timing.statistics import (
    Interval,
    against,
    betting_verdict,
    least_sessions,
    mean_interval,
    percentile,
    t_cdf,
    t_quantile,
)

stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle; the dev extra has it")


@given(st.floats(-50, 50), st.integers(1, 200))
def test_t_cdf_is_scipys(t: float, freedom: int) -> None:
    # Near 0 scipy is off: of t = 6.9e-9 at one degree it says 0.5, not 0.5 + t/pi.
    assume(t == 0 or abs(t) > 1e-6)
    assert t_cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)


@given(st.floats(0.001, 0.999), st.integers(1, 100))
def test_t_quantile_is_scipys(probability: float, freedom: int) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


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


@pytest.mark.parametrize(("chance", "sessions"), [(0.5, 9), (0.1, 58)])
def test_fewest_sessions_that_prove_a_percentile(chance: float, sessions: int) -> None:
    assert least_sessions(chance, 0.01) == sessions
    assert betting_verdict([0.0] * sessions, chance, 0.01) == "met"
    assert betting_verdict([0.0] * (sessions - 1), chance, 0.01) == "inconclusive"


@pytest.mark.parametrize(
    ("shares", "status"),
    [
        ([1.0] * 3, "missed"),
        ([1.0] * 2, "inconclusive"),
        ([0.1] * 500, "inconclusive"),  # exactly what was promised: nobody wins
        ([0.0, 0.2] * 40, "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_betting_on_a_share_of_a_tenth(shares: list[float], status: str) -> None:
    assert betting_verdict(shares, 0.1, 0.01) == status


def test_capital_is_fair_when_the_mean_is_as_bet() -> None:
    # One session of share 0 or 1: whatever the stake, 1 is expected to stay 1.
    draw = random.Random(0)
    wrong = sum(
        betting_verdict([float(draw.random() < 0.5) for _ in range(200)], 0.5, 0.1)
        != "inconclusive"
        for _ in range(500)
    )
    assert wrong <= 0.2 * 500  # 10 % on either side, at the most


def test_percentile_is_an_observed_value() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, p) for p in (0, 25, 50, 51, 100)] == [1, 1, 2, 3, 4]
