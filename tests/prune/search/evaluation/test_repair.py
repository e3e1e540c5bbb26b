"""Repair: under the limits wherever that can be, just under them, at the least harm."""

import numpy as np
import pytest

from edgeprune.prune.search.evaluation.repair import Repair
from edgeprune.prune.search.evaluation.sensitivity import Sensitivity
from edgeprune.prune.space.budget import Costs, Limits

KINDS = ["residual", "bottleneck", "plain"]


@pytest.fixture
def under(coded, priced):
    """Makes a repair of one of the spaces; sensitivities are drawn, worse the narrower."""

    def make(kind, limits, seed=0, costs=None):
        encoding = coded(kind)
        generator = np.random.default_rng(seed)

        slope = generator.uniform(0.1, 2.0, encoding.groups)
        most = max(map(len, encoding.space.grids))
        added = np.zeros((encoding.groups, most, 2))
        for group, grid in enumerate(encoding.space.grids):
            lost = (1 - np.array(grid) / grid[-1]) ** 2 * slope[group]
            added[group, : len(grid)] = lost[:, None] + 0.01 * (lost[:, None] > 0) * [0, 1]
        found = Sensitivity(encoding, added)
        return Repair(encoding, costs or priced(encoding.space), limits, found)

    return make


def floor(repair):
    least = np.array([[grid[0] for grid in repair.encoding.space.grids]])
    return repair.costs.ratios(repair.encoding.space.settle(least))[0]


def drawn(encoding, seed, count=12):
    generator = np.random.default_rng(seed)
    return generator.integers(0, encoding.choices, (count, len(encoding.choices)))


def kept(repair, genomes):
    ratios = repair.costs.ratios(repair.encoding.widths(genomes))
    return (ratios <= repair.limits.vector()).all(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["latency", "macs", "params", "all"])
@pytest.mark.parametrize("above", [1.0, 1.01, 1.5, 3.0])
def test_limits_hold_whatever_comes_in_wherever_the_smallest_widths_keep_them(
    under, kind, which, above
):
    free = under(kind, Limits())
    latency, macs, params = np.minimum(floor(free) * above, 0.97).tolist()
    every = {"latency": latency, "macs": macs, "params": params}
    limits = Limits(**(every if which == "all" else {which: every[which]}))
    repair = under(kind, limits)
    repaired = repair(drawn(repair.encoding, 3))
    assert kept(repair, repaired).all()
    assert np.array_equal(repair.encoding.canonical(repaired), repaired)


def test_costs_that_fall_in_steps_are_no_way_around_a_limit(under, coded):
    """Widths in steps, as a device with wide registers has it: most single moves save nothing."""
    space = coded("residual").space

    def stepped(widths):
        return 1 + np.ceil(widths / 12).sum(1)

    costs = Costs(space.full, (stepped, stepped, stepped))
    limits = Limits(latency=float(floor(under("residual", Limits(), costs=costs))[0]))
    repair = under("residual", limits, costs=costs)
    assert kept(repair, repair(drawn(repair.encoding, 0))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_reach_nothing_is_left_to_shrink(under, kind):
    repair = under(kind, Limits(latency=0.01))
    repaired = repair(drawn(repair.encoding, 0))
    assert np.allclose(
        repair.costs.ratios(repair.encoding.widths(repaired))[:, 0], floor(repair)[0]
    )


def test_a_network_within_the_limits_that_cannot_grow_stays_as_it_is(under):
    repair = under("residual", Limits(latency=1.0))
    assert repair(repair.encoding.full[None]).tolist() == [repair.encoding.full.tolist()]


def test_without_limits_everything_grows_whole(under):
    repair = under("bottleneck", Limits())
    assert (repair(drawn(repair.encoding, 0)) == repair.encoding.full).all()


def wider(encoding, widths):
    """All networks that have one group more, or a branch more; its other groups whole."""
    groups = encoding.space.groups
    for index, grid in enumerate(encoding.space.grids):
        for width in (w for w in grid if w > widths[index]):
            grown = widths.copy()
            if widths[index] == 0:
                inside = [g.droppable and g.block == groups[index].block for g in groups]
                grown = np.where(inside, encoding.space.full, grown)
            grown[index] = width
            yield grown


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [0.5, 0.7, 0.95])
def test_nothing_that_would_do_good_could_grow_without_breaking_a_limit(under, kind, seed, limit):
    repair = under(kind, Limits(latency=limit, params=0.9), seed)
    encoding = repair.encoding
    for genome in repair(drawn(encoding, seed, 4)):
        widths = encoding.widths(genome[None])[0]
        more = np.array(list(wider(encoding, widths)))
        ratios = repair.costs.ratios(more)
        fitting = more[(ratios <= repair.limits.vector()).all(1)]
        if len(fitting):
            # A branch may stay away where having it back at that width is worse than without.
            best = min(repair.sensitivity.losses(encoding.genomes(fitting, 0)))
            assert best > repair.sensitivity.losses(genome[None])[0]
            assert (widths[[g.droppable for g in encoding.space.groups]] == 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_repairing_twice_changes_nothing(under, kind):
    repair = under(kind, Limits(latency=0.6, macs=0.6))
    once = repair(drawn(repair.encoding, 1, 30))
    assert np.array_equal(repair(once), once)


def test_each_genome_is_repaired_as_if_it_were_alone(under):
    repair = under("residual", Limits(latency=0.6))
    genomes = drawn(repair.encoding, 2, 6)
    alone = np.concatenate([repair(genome[None]) for genome in genomes])
    assert np.array_equal(repair(genomes), alone)


def hurting(encoding, harms):
    """Sensitivities by hand: a group's harm times the share of it that is missing."""
    most = max(len(grid) for grid in encoding.space.grids)
    added = np.zeros((encoding.groups, most, len(encoding.saliencies)))
    for group, grid in enumerate(encoding.space.grids):
        share = 1 - np.array(grid) / grid[-1]
        added[group, : len(grid)] = harms[group] * share[:, None]
    return Sensitivity(encoding, added)


@pytest.mark.parametrize("harmless", [0, 1, 2])
def test_the_least_harmful_group_gives_way_first(coded, harmless):
    encoding = coded("plain")
    costs = Costs(encoding.space.full, (lambda w: (w / encoding.space.full).sum(1),) * 3)
    harms = np.ones(3)
    harms[harmless] = 0.1
    repair = Repair(encoding, costs, Limits(latency=0.8), hurting(encoding, harms))
    widths = encoding.widths(repair.shrunk(encoding.full[None]))[0]
    assert (widths < encoding.space.full).tolist() == [index == harmless for index in range(3)]


def test_harm_counts_per_saving(coded):
    """The second group hurts twice as much, but saves eight times as much."""
    encoding = coded("plain")
    costs = Costs(encoding.space.full, (lambda w: 10 + w @ np.array([0.1, 0.8, 0.1]),) * 3)
    repair = Repair(encoding, costs, Limits(latency=0.91), hurting(encoding, [1.0, 2.0, 1.0]))
    widths = encoding.widths(repair.shrunk(encoding.full[None]))[0]
    assert widths[0] == 16
    assert widths[1] < 24
    assert widths[2] == 32


def test_what_is_left_grows_where_it_does_most_good(coded):
    encoding = coded("plain")
    costs = Costs(encoding.space.full, (lambda w: (w / encoding.space.full).sum(1),) * 3)
    repair = Repair(encoding, costs, Limits(latency=0.75), hurting(encoding, [1.0, 0.1, 5.0]))
    least = np.zeros((1, 6), np.int64)
    widths = encoding.widths(repair.grown(least))[0]
    assert widths[2] == 32
    assert widths[0] == 16
    assert widths[1] < 24


def test_a_branch_of_two_groups_comes_back_with_both(coded, priced):
    encoding = coded("bottleneck")
    repair = Repair(
        encoding,
        priced(encoding.space),
        Limits(latency=0.9),
        hurting(encoding, [0.1, 5, 5, 0.1, 0.1]),
    )
    dropped = encoding.genomes(np.array([[16, 0, 0, 12, 8]]))
    widths = encoding.widths(repair(dropped))[0]
    assert (widths[[1, 2]] > 0).all()
    assert kept(repair, repair(dropped)).all()


def test_a_group_that_is_slimmed_takes_its_least_harmful_criterion(coded, priced):
    encoding = coded("plain")
    sensitive = hurting(encoding, [1.0, 1.0, 1.0])
    sensitive.added[:, :, 0] *= 3
    repair = Repair(encoding, priced(encoding.space), Limits(latency=0.5), sensitive)
    genome = repair.shrunk(encoding.full[None])[0]
    slimmed = encoding.widths(genome[None])[0] < encoding.space.full
    assert slimmed.any()
    assert (genome[encoding.groups :] == slimmed).all()


def test_a_criterion_that_was_chosen_stays(coded, priced):
    encoding = coded("plain")
    repair = Repair(
        encoding, priced(encoding.space), Limits(latency=0.3), hurting(encoding, [1, 1, 1])
    )
    genome = encoding.genomes(encoding.space.full[None] - 4, 1)
    assert (repair.shrunk(genome)[0, encoding.groups :] == 1).all()
