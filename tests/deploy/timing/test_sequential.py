"""The sequential test on epochs of known ratios: status and the look that settles it."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from edgeprune.deploy.timing.sequential import (
    LOOKS,
    MORE_LOOKS,
    cap,
    decide,
    looks,
    ratio_of,
    sessions_needed,
)

Paired = Callable[..., Any]
NOISY = (0.9, 1.1)  # alternating epochs: a spread that no look can settle near the limit


@pytest.mark.parametrize(
    ("ratios", "limit", "status", "looked"),
    [
        ([0.60] * 4, 0.70, "met", 4),
        ([0.80] * 4, 0.70, "missed", 4),
        ([0.697] * 32, 0.70, "inconclusive", 32),  # nearer than the floor of 0.5 %
        ([0.70] * 32, 0.70, "inconclusive", 32),
        ([0.60] * 3, 0.70, "inconclusive", 3),  # too few to look
        ([0.6, 0.9, 0.6, 0.9, *[0.6] * 28], 0.72, "met", 24),
        (list(NOISY) * 16, 1.02, "inconclusive", 32),
        (list(NOISY) * 2, 2.60, "met", 4),
    ],
)
def test_the_look_that_settles_a_limit(
    paired: Paired, ratios: list[float], limit: float, status: str, looked: int
) -> None:
    decision = decide(paired(ratios), limit, "cpu")
    assert (decision.status, decision.epochs) == (status, looked)


def test_a_doubtful_machine_gets_twice_the_paired(paired: Paired) -> None:
    ratios = list(NOISY) * 16 + [1.0] * 32
    assert decide(paired(ratios), 1.05, "cpu").status == "inconclusive"
    busy = decide(paired(ratios, steal_ticks=1.0), 1.05, "cpu")
    assert (busy.status, busy.epochs) == ("met", 48)


@pytest.mark.parametrize(
    ("count", "rounds", "expected"),
    [
        (3, 8, []),
        (4, 8, [4]),
        (13, 8, [4, 6, 8, 12]),
        (13, 4, [4, 6, 8, 12]),
        (64, 8, list(LOOKS)),
    ],
)
def test_looks(paired: Paired, count: int, rounds: int, expected: list[int]) -> None:
    assert looks(paired([1.0] * count, rounds=rounds), "cpu") == expected


def test_more_looks_are_for_a_machine_that_was_not_quiet(paired: Paired) -> None:
    busy = paired([1.0] * 64, steal_ticks=1.0)
    assert looks(busy, "cpu") == [*LOOKS, *MORE_LOOKS]
    assert cap(busy, "cpu") == 64
    assert cap(busy[:31], "cpu") == 32  # judged by the first 32 alone


def test_the_interval_of_a_ratio_is_never_narrower_than_the_floor() -> None:
    ratio = ratio_of([0.0, 0.0, 0.0])
    assert ratio == pytest.approx((0.99501248, 1.0, 1.00501252))  # exp(-0.005), exp(0.005)
    assert ratio_of([0.0]) is None


@pytest.mark.parametrize(
    ("ratios", "limit", "needed"),
    [
        ([1.0], 1.5, 4),  # nothing is known of the spread
        ([0.9, 1.1], 1.6, 6),
        ([0.9, 1.1] * 2, 1.2, 12),
        ([0.9, 1.1] * 2, 1.05, None),
        ([1.0] * 4, 1.004, None),  # nearer than the floor
    ],
)
def test_sessions_that_a_limit_needs(
    ratios: list[float], limit: float, needed: int | None
) -> None:
    assert sessions_needed([math.log(ratio) for ratio in ratios], limit) == needed
