"""Genomes and networks: one for one, on the grid, the most salient channels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.plan import check, whole
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of

SEEDS = st.integers(0, 10_000)


def by_hand():
    """A stem, a branch of two groups, and a branch of one; two criteria, opposite in all."""
    groups = (
        group_of("stem", 4),
        group_of("a1", 4, block="a"),
        group_of("a2", 6, block="a"),
        group_of("b", 4, stage=1, block="b"),
    )
    space = PruningSpace(groups, ((1, 2, 4), (0, 2, 4), (0, 3, 6), (0, 1, 3, 4)))
    rising = tuple(torch.arange(float(group.width)) for group in groups)
    return Encoding(space, (rising, tuple(-s for s in rising)))


CODING = by_hand()


def drawn(seed, count=20):
    generator = np.random.default_rng(seed)
    return generator.integers(0, CODING.choices, (count, len(CODING.choices)))


def test_a_gene_for_each_level_and_one_for_each_criterion():
    assert CODING.choices == [3, 3, 3, 4, 2, 2, 2, 2]


def test_the_full_genome_is_the_dense_network():
    assert CODING.plan(CODING.full) == whole(CODING.space.groups, "")
    assert CODING.canonical(CODING.full[None]).tolist() == [CODING.full.tolist()]


@pytest.mark.parametrize(
    ("genome", "kept"),
    [
        ([1, 1, 1, 2, 0, 0, 0, 0], [(2, 3), (2, 3), (3, 4, 5), (1, 2, 3)]),
        ([1, 1, 1, 2, 1, 0, 1, 1], [(0, 1), (2, 3), (0, 1, 2), (0, 1, 2)]),
        ([0, 0, 2, 1, 0, 0, 0, 1], [(3,), (), (), (0,)]),  # half a branch is none
        ([2, 1, 0, 0, 1, 1, 1, 1], [(0, 1, 2, 3), (), (), ()]),
    ],
)
def test_the_most_salient_channels_of_the_genes_criterion_are_kept(genome, kept):
    assert list(CODING.plan(np.array(genome)).kept.values()) == kept


def test_of_equally_salient_channels_the_first_are_kept():
    space = PruningSpace((group_of("g", 6),), ((3, 6),))
    encoding = Encoding(space, ((torch.tensor([0.5, 1.0, 0.5, 0.5, 0.5, 0.1]),),))
    assert encoding.plan(np.array([0, 0])).kept == {"g": (0, 1, 2)}


@given(SEEDS)
def test_kept_channels_outrank_removed_ones(seed):
    for genome in drawn(seed, 5):
        for index, kept in enumerate(CODING.plan(genome).kept.values()):
            saliency = CODING.saliencies[genome[CODING.groups + index]][index]
            gone = sorted(set(range(len(saliency))) - set(kept))
            assert not kept or not gone or saliency[list(kept)].min() >= saliency[gone].max()


@given(SEEDS)
def test_whatever_the_genes_widths_are_legal_and_the_plan_is_one_of_the_network(seed):
    genomes = drawn(seed)
    for genome, widths in zip(genomes, CODING.widths(genomes), strict=True):
        assert all(w in grid for w, grid in zip(widths, CODING.space.grids, strict=True))
        assert (widths[1] == 0) == (widths[2] == 0)
        kept = check(CODING.plan(genome), CODING.space.groups)
        assert [len(stay) for stay in kept] == widths.tolist()


@given(SEEDS)
def test_canonical_genomes_stand_for_the_same_network_and_stay_as_they_are(seed):
    genomes = drawn(seed)
    plain = CODING.canonical(genomes)
    assert np.array_equal(CODING.canonical(plain), plain)
    assert np.array_equal(CODING.widths(plain), CODING.widths(genomes))
    assert [CODING.plan(g) for g in plain] == [CODING.plan(g) for g in genomes]


@given(SEEDS)
def test_equal_networks_have_equal_genomes(seed):
    """The criteria are opposite, so networks differ wherever genes that count do."""
    genomes = drawn(seed, 60)
    names = {}
    for genome, plain in zip(genomes, CODING.canonical(genomes), strict=True):
        network = tuple(CODING.plan(genome).kept.items())
        assert names.setdefault(network, tuple(plain)) == tuple(plain)
    assert len(set(names.values())) == len(names)


@given(SEEDS)
def test_widths_and_criteria_make_the_genome_again(seed):
    genomes = CODING.canonical(drawn(seed))
    widths, criteria = CODING.widths(genomes), genomes[:, CODING.groups :]
    assert np.array_equal(CODING.genomes(widths, criteria), genomes)


@given(SEEDS, st.integers(0, 1))
def test_one_criterion_serves_every_group_that_is_slimmed(seed, criterion):
    widths = CODING.widths(drawn(seed))
    genomes = CODING.genomes(widths, criterion)
    slimmed = (widths > 0) & (widths < CODING.space.full)
    assert np.array_equal(CODING.widths(genomes), widths)
    assert np.array_equal(genomes[:, CODING.groups :], np.where(slimmed, criterion, 0))


def test_a_choice_says_what_is_kept_and_what_it_costs():
    costs = Costs(CODING.space.full, (lambda w: w.sum(1), lambda w: w[:, 0], lambda w: w[:, 3]))
    choice = CODING.choice(np.array([1, 0, 2, 1, 0, 0, 0, 0]), costs, loss=0.25)
    assert choice.kept == {"stem": (2, 3), "a1": (), "a2": (), "b": (3,)}
    assert choice.widths.tolist() == [2, 0, 0, 1]
    assert choice.ratios.tolist() == [3 / 18, 0.5, 0.25]
    assert choice.scores == {"loss": 0.25}
