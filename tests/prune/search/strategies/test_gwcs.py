import numpy as np
import pytest
import torch
from edgeprune.prune.saliency.descriptors import Descriptors

from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.strategies import gwcs
from edgeprune.prune.space.budget import Costs, Limits
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of

SETTINGS = Settings(population=24, generations=25)
WIDTHS = (8, 8, 16)


@pytest.fixture
def space():
    groups = tuple(
        group_of(f"g{i}", width, stage=stage, block=f"b{i}" if i else None)
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
    assert all(0 < score <= 1 for score in choice.scores.values())


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
        lambda step, done, total: told.append((step, done, total)),
    )
    assert told == [("searching", done, 6) for done in range(1, 7)]


def test_a_redundant_channel_goes_before_a_different_one():
    """Three channels of equal saliency, two of them alike: the odd one stays."""
    alike = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    one = Descriptors(torch.ones(3), torch.ones(3), torch.ones(3), alike)
    space = PruningSpace((group_of("g", 3),), ((2, 3),))
    costs = Costs(np.array([3]), (lambda w: w[:, 0],) * 3)
    choice = gwcs.search(space, (one,), costs, Limits(latency=0.7), SETTINGS)
    assert 2 in choice.kept["g"]
    assert len(choice.kept["g"]) == 2


CHAIN = (16, 32, 64, 128)


@pytest.fixture
def chain():
    """Four stages of one group, each convolution reading the one before, as in a VGG."""
    groups = tuple(group_of(f"g{i}", n, stage=i) for i, n in enumerate(CHAIN))
    grids = tuple(tuple(range(4, n + 1, 4)) for n in CHAIN)
    described = tuple(
        Descriptors(torch.ones(n), torch.ones(n), torch.arange(1.0, n + 1), torch.eye(n))
        for n in CHAIN
    )
    return PruningSpace(groups, grids), described


def product(widths):
    return (widths[:, :-1] * widths[:, 1:]) @ np.array([16, 4, 1])


def additive(widths):
    return widths @ np.array([8.0, 4.0, 2.0, 1.0])


COSTS = {
    "products": Costs(np.array(CHAIN), (product, product, lambda w: product(w) + w.sum(1))),
    "sums": Costs(np.array(CHAIN), (additive, additive, additive)),
    "both": Costs(np.array(CHAIN), (additive, product, product)),
}


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("above", [1.0, 1.02, 1.3, 3.0, 9.0])
def test_every_limit_above_the_floor_is_kept(chain, costs, above):
    space, described = chain
    floor = costs.ratios(np.array([[grid[0] for grid in space.grids]]))[0]
    limits = Limits(*np.minimum(above * floor, 0.95).tolist())
    choice = gwcs.search(space, described, costs, limits, Settings(population=12, generations=8))
    assert (choice.ratios <= limits.vector()).all()


@pytest.mark.parametrize(("name", "limit"), [("products", 0.2), ("sums", 0.4)])
def test_no_stage_is_emptied_to_spare_the_others(chain, name, limit):
    """The share of a stage follows from what it can save, whatever scale costs add up on."""
    space, described = chain
    choice = gwcs.search(space, described, COSTS[name], Limits(macs=limit), SETTINGS)
    kept = choice.widths / space.full
    assert choice.ratios[1] <= limit
    assert choice.ratios[1] > 0.8 * limit
    assert kept.min() > 0.1
    assert kept.max() < 0.95


def test_a_limit_below_the_floor_ends_on_the_floor(chain):
    space, described = chain
    choice = gwcs.search(space, described, COSTS["products"], Limits(macs=1e-6), SETTINGS)
    assert choice.widths.tolist() == [4, 4, 4, 4]
