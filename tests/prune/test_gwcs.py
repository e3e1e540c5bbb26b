import numpy as np
import pytest
import torch

from edgeprune.prune import gwcs
from edgeprune.prune.channels import ChannelGroup
from edgeprune.prune.descriptors import Descriptors
from edgeprune.prune.evolution import Settings
from edgeprune.prune.fitness import Costs, Limits
from edgeprune.prune.space import PruningSpace

SETTINGS = Settings(population=24, generations=25)
WIDTHS = (8, 8, 16)


@pytest.fixture
def space():
    groups = tuple(
        ChannelGroup(f"g{i}", width, stage, f"b{i}" if i else None, i > 0, ())
        for i, (width, stage) in enumerate(zip(WIDTHS, (0, 0, 1), strict=True))
    )
    return PruningSpace(groups, ((4, 8), (0, 4, 8), (0, 4, 8, 12, 16)))


@pytest.fixture
def descriptors():
    """Saliency grows with the channel's number; nothing is redundant."""
    return tuple(
        Descriptors(torch.ones(n), torch.ones(n), torch.arange(1.0, n + 1), torch.eye(n))
        for n in WIDTHS
    )


@pytest.fixture
def costs(space):
    def latency(widths):
        return widths @ np.array([4.0, 2.0, 1.0])

    return Costs(space.full, (latency, latency, lambda widths: widths.sum(1)))


@pytest.mark.parametrize("limit", [0.9, 0.7, 0.5, 0.4])
def test_the_budget_is_kept_and_nearly_used(space, descriptors, costs, limit):
    choice = gwcs.search(space, descriptors, costs, Limits(latency=limit), SETTINGS)
    assert choice.ratios[0] <= limit
    assert choice.ratios[0] > limit - 0.3


def test_the_most_salient_channels_stay(space, descriptors, costs):
    choice = gwcs.search(space, descriptors, costs, Limits(latency=0.6), SETTINGS)
    for index, group in enumerate(space.groups):
        kept = choice.kept[group.name]
        assert len(kept) == choice.widths[index]
        assert kept == tuple(range(group.width - len(kept), group.width))


def test_several_budgets_hold_at_once(space, descriptors, costs):
    limits = Limits(latency=0.8, params=0.6)
    choice = gwcs.search(space, descriptors, costs, limits, SETTINGS)
    assert (choice.ratios <= limits.vector()).all()


def test_without_a_budget_the_ratio_is_an_outcome(space, descriptors, costs):
    choice = gwcs.search(space, descriptors, costs, Limits(), SETTINGS)
    assert 0 < choice.ratios[0] < 1
    assert all(0 < score <= 1 for score in choice.aggregation)


def test_the_same_seed_gives_the_same_choice(space, descriptors, costs):
    first, second = (
        gwcs.search(space, descriptors, costs, Limits(latency=0.6), SETTINGS) for _ in range(2)
    )
    assert first.kept == second.kept


def test_progress_runs_through_all_stages(space, descriptors, costs):
    told = []
    settings = Settings(population=8, generations=3)
    gwcs.search(
        space,
        descriptors,
        costs,
        Limits(latency=0.6),
        settings,
        lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_redundant_channel_goes_before_a_different_one():
    """Three channels of equal saliency, two of them alike: the odd one stays."""
    alike = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    one = Descriptors(torch.ones(3), torch.ones(3), torch.ones(3), alike)
    space = PruningSpace((ChannelGroup("g", 3, 0, None, False, ()),), ((2, 3),))
    costs = Costs(np.array([3]), (lambda w: w[:, 0],) * 3)
    choice = gwcs.search(space, (one,), costs, Limits(latency=0.7), SETTINGS)
    assert 2 in choice.kept["g"]
    assert len(choice.kept["g"]) == 2
