"""Rules: each keeps its limit, on the grid, and is as mild as the limit lets it be."""

import numpy as np
import pytest
import torch

from edgeprune.prune.search.strategies import one_shot
from edgeprune.prune.space.budget import Limits

KINDS = ["residual", "bottleneck", "plain"]
LIMITS = [
    Limits(latency=0.9),
    Limits(latency=0.6),
    Limits(macs=0.4),
    Limits(latency=0.8, params=0.5),
]
OUT_OF_REACH = Limits(latency=1e-3)


@pytest.fixture(params=KINDS)
def priced_space(request, spaces, priced):
    space = spaces(request.param)
    return space, priced(space)


@pytest.fixture
def saliencies(priced_space):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(g.width, generator=generator) for g in priced_space[0].groups)


def on_grid(space, widths):
    return all(w in grid for w, grid in zip(widths.tolist(), space.grids, strict=True))


def holds(costs, widths, limits):
    return (costs.ratios(widths[None])[0] <= limits.vector()).all()


def smallest(space):
    return [min(w for w in grid if w) for grid in space.grids]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_uniform_keeps_its_limit_with_the_largest_common_share(priced_space, limits):
    space, costs = priced_space
    widths = one_shot.uniform(space, costs, limits)
    assert on_grid(space, widths)
    assert holds(costs, widths, limits)
    assert (widths > 0).all()
    share = (widths / space.full).max()
    wider = space.snap(share * space.full[None] + 0.02 * space.full)[0]
    assert not holds(costs, wider, limits)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("relative", [True, False])
def test_ranked_keeps_its_limit(priced_space, saliencies, limits, relative):
    space, costs = priced_space
    widths = one_shot.ranked(space, costs, limits, saliencies, relative=relative)
    assert on_grid(space, widths)
    assert holds(costs, widths, limits)
    assert (widths > 0).all()


@pytest.mark.parametrize("relative", [True, False])
def test_tighter_limits_never_make_a_rule_wider(priced_space, saliencies, relative):
    space, costs = priced_space
    budgets = [Limits(latency=share) for share in np.linspace(1.0, 0.3, 15)]
    uniform = np.array([one_shot.uniform(space, costs, b) for b in budgets])
    ranked = np.array(
        [one_shot.ranked(space, costs, b, saliencies, relative=relative) for b in budgets]
    )
    for widths in (uniform, ranked):
        assert (np.diff(widths, axis=0) <= 0).all()
        assert (widths[0] == space.full).all()
        assert (widths[-1] < space.full).any()


def test_out_of_reach_rules_end_at_the_smallest_widths(priced_space, saliencies):
    space, costs = priced_space
    uniform = one_shot.uniform(space, costs, OUT_OF_REACH)
    ranked = one_shot.ranked(space, costs, OUT_OF_REACH, saliencies, relative=True)
    assert uniform.tolist() == ranked.tolist() == smallest(space)


def test_the_group_of_low_saliencies_is_thinned(spaces, priced):
    space = spaces("plain")
    low = tuple(torch.rand(g.width) + (0.0 if i == 1 else 2.0) for i, g in enumerate(space.groups))
    widths = one_shot.ranked(space, priced(space), Limits(latency=0.8), low, relative=False)
    assert widths[1] < 24
    assert widths[[0, 2]].tolist() == [16, 32]


def test_relative_saliencies_know_no_scale_of_a_layer(priced_space, saliencies):
    space, costs = priced_space
    scaled = tuple(s * 10.0**i for i, s in enumerate(saliencies))
    args = (space, costs, Limits(latency=0.6))
    plain = one_shot.ranked(*args, saliencies, relative=True)
    assert one_shot.ranked(*args, scaled, relative=True).tolist() == plain.tolist()
    assert one_shot.ranked(*args, scaled, relative=False).tolist() != plain.tolist()


@pytest.mark.parametrize("count", range(4))
def test_branches_go_in_the_order_of_their_harm_until_the_limit_is_kept(spaces, priced, count):
    space = spaces("residual")
    gone = set("cda"[:count])
    widths = np.where([g.droppable and g.block in gone for g in space.groups], 0, space.full)
    costs = priced(space)
    limits = Limits(latency=float(costs.ratios(widths[None])[0, 0]))
    found = one_shot.depth(space, costs, limits, {"a": 3.0, "d": 2.0, "c": 1.0})
    assert found.tolist() == widths.tolist()


def test_a_branch_goes_with_all_of_its_groups(spaces, priced):
    space = spaces("bottleneck")
    widths = one_shot.depth(space, priced(space), Limits(latency=0.99), {"a": 1.0, "b": 0.1})
    assert widths.tolist() == [16, 8, 12, 0, 0]


def test_depth_out_of_reach_drops_every_branch(spaces, priced):
    space = spaces("bottleneck")
    widths = one_shot.depth(space, priced(space), OUT_OF_REACH, {"a": 1.0, "b": 0.1})
    assert widths.tolist() == [16, 0, 0, 0, 0]


def walks(encoding, costs, limit, count=40, seed=0):
    limits = Limits(latency=limit)

    def excess(genomes):
        ratios = costs.ratios(encoding.widths(genomes))
        return np.maximum(ratios / limits.vector() - 1, 0).sum(1)

    generator = np.random.default_rng(seed)
    return one_shot.random_walks(encoding.choices, excess, encoding.full, count, generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0.9, 0.7, 0.5])
def test_random_walks_end_under_the_limit_and_near_it(coded, priced, kind, limit):
    encoding = coded(kind)
    costs = priced(encoding.space)
    genomes = walks(encoding, costs, limit)
    ratios = costs.ratios(encoding.widths(genomes))[:, 0]
    assert genomes.shape == (40, 2 * encoding.groups)
    assert (genomes >= 0).all()
    assert (genomes < encoding.choices).all()
    assert (ratios <= limit).all()
    assert np.median(ratios) > 0.75 * limit
    assert len(np.unique(genomes, axis=0)) > 10


def test_random_walks_try_every_criterion(coded, priced):
    encoding = coded("residual")
    drawn = walks(encoding, priced(encoding.space), 0.7)[:, encoding.groups :]
    assert (drawn.mean(0) > 0.2).all()
    assert (drawn.mean(0) < 0.8).all()


def test_the_seed_decides_the_walks(coded, priced):
    encoding = coded("residual")
    costs = priced(encoding.space)
    first = walks(encoding, costs, 0.7)
    assert np.array_equal(walks(encoding, costs, 0.7), first)
    assert not np.array_equal(walks(encoding, costs, 0.7, seed=1), first)


def test_random_walks_out_of_reach_end_all_the_same(coded, priced):
    encoding = coded("plain")
    costs = priced(encoding.space)
    ratios = costs.ratios(encoding.widths(walks(encoding, costs, 1e-3)))[:, 0]
    least = costs.ratios(np.array([smallest(encoding.space)]))[0, 0]
    assert ratios == pytest.approx(least)
