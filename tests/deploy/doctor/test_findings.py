"""Findings: which come first, and what their lines say."""

from typing import Any

import pytest

from edgeprune.deploy.doctor.findings import Finding, Tried, ranked
from edgeprune.deploy.timing.statistics import Interval


def one(status: Any, saved: float = 0.0, same: bool = True) -> Tried:
    if status == "untried":
        return Tried(change="c", same_answers=same, status=status, reason="no time")
    around = Interval(saved - 0.1, saved, saved + 0.1)
    ratio = Interval(1 - around.high, 1 - saved, 1 - around.low)
    return Tried(change="c", same_answers=same, status=status, ratio=ratio, saved_ms=around)


def finding(name: str, stake: float, *tried: Tried) -> Finding:
    return Finding(
        cause="exporter clutter", layer=name, what="w", stake_ms=stake, tried=tried, next="n"
    )


def test_what_surely_helps_comes_first_and_what_costs_last() -> None:
    every = [
        finding("costs", 9.0, one("costs", -1.0)),
        finding("small", 1.0, one("saves", 0.2)),
        finding("seen", 0.5),
        finding("large", 1.0, one("saves", 0.6), one("costs", -0.5)),
        finding("perhaps", 5.0, one("inconclusive", 0.0)),
        finding("late", 0.3, one("untried")),
    ]
    names = [each.layer for each in ranked(every)]
    assert names == ["large", "small", "seen", "late", "perhaps", "costs"]


@pytest.mark.parametrize(
    ("tried", "status"),
    [
        ((), "profiled"),
        ((one("untried"),), "untried"),
        ((one("untried"), one("inconclusive")), "inconclusive"),
        ((one("costs", -1.0), one("saves", 1.0)), "saves"),
    ],
)
def test_a_finding_is_as_good_as_its_best_change(tried: Any, status: str) -> None:
    assert finding("x", 1.0, *tried).status == status


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (one("saves", 0.5), "c: 0.500x [0.400, 0.600], saves 0.500 ms [0.400, 0.600]"),
        (one("costs", -0.5), "c: 1.500x [1.400, 1.600], costs 0.500 ms [0.400, 0.600]"),
        (one("inconclusive"), "inconclusive, between -0.100 and +0.100 ms saved"),
        (one("untried"), "c: not tried, no time"),
        (one("saves", 0.5, same=False), "c (other answers: speed only)"),
    ],
)
def test_a_change_is_one_line(tried: Tried, words: str) -> None:
    assert words in tried.describe()
