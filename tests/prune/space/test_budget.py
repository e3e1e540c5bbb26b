"""Limits and predicted costs, by hand arithmetic."""

import numpy as np
import pytest

from edgeprune.prune.space.budget import Costs, Limits, narrowed, over
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of


def test_costs_are_shares_of_the_dense_ones():
    costs = Costs(np.array([4, 8]), (lambda w: w.sum(1), lambda w: w[:, 0], lambda w: w[:, 1]))
    assert costs.ratios(np.array([[2, 8], [4, 4]])).tolist() == [
        [10 / 12, 0.5, 1.0],
        [8 / 12, 1.0, 0.5],
    ]


def test_limits_that_are_not_set_do_not_bind():
    assert not Limits().bind()
    assert Limits(macs=0.5).bind()
    assert Limits(latency=0.7).vector().tolist() == [0.7, np.inf, np.inf]


def test_limits_are_loosened_where_they_are_set():
    assert Limits(latency=0.5, params=0.25).loosened(2) == Limits(latency=1.0, params=0.5)


def test_violations_are_relative_to_each_limit_and_add_up():
    limits = Limits(latency=0.5, params=0.8)
    ratios = np.array([[0.6, 9.0, 0.8], [0.5, 1.0, 1.0], [0.1, 1.0, 0.1]])
    assert over(ratios, limits.vector()).tolist()[0] == pytest.approx([0.2, 0.0, 0.0])
    assert limits.excess(ratios) == pytest.approx([0.2, 0.25, 0.0])


def test_narrowed_groups_take_their_smallest_width_and_a_dropped_branch_goes_whole():
    groups = [("stem", None), ("a", "x"), ("b", "x")]
    made = tuple(group_of(name, 8, block=block) for name, block in groups)
    space = PruningSpace(made, ((4, 8), (0, 4, 8), (0, 4, 8)))
    widths = np.array([[8, 8, 8]])
    assert narrowed(space, widths, [0]).tolist() == [[4, 8, 8]]
    assert narrowed(space, widths, [1]).tolist() == [[8, 0, 0]]
    assert widths.tolist() == [[8, 8, 8]]
