import numpy as np
import pytest

from edgeprune.prune.search.strategies.stage_budget import stage_limits
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of

STAGES = [(0,), (1,)]


@pytest.fixture
def space():
    groups = tuple(group_of(f"g{i}", 8, stage=i) for i in range(2))
    return PruningSpace(groups, ((2, 4, 8), (4, 8)))


@pytest.fixture
def costs(space):
    """The first group costs three times the second, per channel."""

    def latency(widths):
        return widths @ np.array([3.0, 1.0])

    return Costs(space.full, (latency,) * 3)


def limit(latency):
    return np.array([latency, np.inf, np.inf])


def test_savings_are_asked_in_proportion_to_what_each_stage_can_save(space, costs):
    """18 and 4 of 32 can be saved; of 11 the first stage owes 9."""
    asked = stage_limits(space, costs, space.full, STAGES, limit(21 / 32))
    assert asked[0] == pytest.approx(1 - 9 / 32)
    assert np.isinf(asked[1:]).all()


def test_the_last_stage_owes_all_that_is_left(space, costs):
    asked = stage_limits(space, costs, np.array([4, 8]), [(1,)], limit(0.55))
    assert asked[0] == pytest.approx(0.55)


def test_no_stage_is_asked_for_more_than_it_can_give(space, costs):
    asked = stage_limits(space, costs, space.full, STAGES, limit(0.01))
    assert asked[0] == pytest.approx(14 / 32)
