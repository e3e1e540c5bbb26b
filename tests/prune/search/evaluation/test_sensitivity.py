"""What each group costs alone: recovered where losses add up, sane where they are noisy."""

import numpy as np
import pytest

from edgeprune.prune.search.evaluation import sensitivity
from edgeprune.prune.search.evaluation.sensitivity import MEASURED_LEVELS

DENSE = 0.4


class Additive:
    """Each group adds slope times criterion factor times missing share; a branch a sum."""

    def __init__(self, encoding, noise=0.0):
        generator = np.random.default_rng(0)
        self.encoding, self.noise, self.asked = encoding, noise, []
        self.slope = generator.uniform(0.1, 1.0, encoding.groups)
        self.factor = generator.uniform(1.0, 2.0, (encoding.groups, len(encoding.saliencies)))
        self.gone = generator.uniform(1.0, 3.0, encoding.groups)

    def table(self, groups, widths, criteria):
        share = 1 - widths / self.encoding.space.full[groups]
        partial = self.slope[groups] * self.factor[groups, criteria] * share
        return np.where(widths == 0, self.gone[groups], partial)

    def __call__(self, genomes):
        self.asked += [tuple(genome) for genome in self.encoding.canonical(genomes).tolist()]
        widths, groups = self.encoding.widths(genomes), np.arange(self.encoding.groups)
        added = self.table(groups, widths, genomes[:, self.encoding.groups :]).sum(1)
        wobble = np.array([hash(tuple(g)) % 1000 / 1000 - 0.5 for g in genomes.tolist()])
        return DENSE + added + self.noise * wobble


@pytest.fixture(params=["residual", "bottleneck", "plain"])
def encoding(request, coded):
    return coded(request.param)


def test_losses_that_add_up_are_predicted_for_every_network(encoding):
    truth = Additive(encoding)
    found = sensitivity.measure(encoding, truth)
    genomes = np.random.default_rng(1).integers(0, encoding.choices, (200, len(encoding.choices)))
    genomes = encoding.canonical(genomes)
    assert found.dense == pytest.approx(DENSE)
    assert found.losses(genomes) == pytest.approx(truth(genomes), abs=1e-4)


def test_the_least_harmful_criterion_is_known(encoding):
    truth = Additive(encoding)
    best = sensitivity.measure(encoding, truth).best_criteria()
    for group, grid in enumerate(encoding.space.grids):
        for level in range(int(grid[0] == 0), len(grid) - 1):
            assert best[group, level] == truth.factor[group].argmin()


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_wider_group_never_costs_more_and_a_whole_one_nothing(encoding, noise):
    added = sensitivity.measure(encoding, Additive(encoding, noise)).added
    for group, grid in enumerate(encoding.space.grids):
        curve = added[group, int(grid[0] == 0) : len(grid)]
        assert (np.diff(curve, axis=0) <= 1e-12).all()
        assert (curve >= 0).all()
        assert (curve[-1] == 0).all()


def test_few_networks_are_scored_and_each_has_one_group_or_branch_changed(encoding):
    truth = Additive(encoding)
    sensitivity.measure(encoding, truth)
    drops = sum(grid[0] == 0 for grid in encoding.space.grids)
    most = 1 + drops + encoding.groups * (MEASURED_LEVELS - 1 + len(encoding.saliencies))
    assert len(truth.asked) <= most
    full, blocks = encoding.space.full, [g.block for g in encoding.space.groups]
    for genome in truth.asked:
        widths = encoding.widths(np.array([genome]))[0]
        changed = np.flatnonzero(widths != full)
        together = len({blocks[i] for i in changed}) == 1 and (widths[changed] == 0).all()
        assert len(changed) <= 1 or together


def test_the_harm_of_a_branch_is_shared_by_its_groups(coded):
    encoding = coded("bottleneck")
    truth = Additive(encoding)
    added = sensitivity.measure(encoding, truth).added[:, 0]
    assert added[1] == pytest.approx(added[2])
    assert added[[1, 2], 0].sum() == pytest.approx(truth.gone[[1, 2]].sum())
