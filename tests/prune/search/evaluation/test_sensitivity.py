"""What each group costs alone: recovered where losses add up, sane where they are noisy."""

import numpy as np
import pytest

from edgeprune.prune.search.evaluation import sensitivity
from edgeprune.prune.search.evaluation.sensitivity import MEASURED_LEVELS

DENSE = 0.4


class Additive:
    """Each group adds slope times criterion factor times missing share; a branch a sum."""

    def __init__(self, coding, noise=0.0):
        generator = np.random.default_rng(0)
        self.coding, self.noise, self.asked = coding, noise, []
        self.slope = generator.uniform(0.1, 1.0, coding.groups)
        self.factor = generator.uniform(1.0, 2.0, (coding.groups, len(coding.saliencies)))
        self.gone = generator.uniform(1.0, 3.0, coding.groups)

    def table(self, groups, widths, criteria):
        share = 1 - widths / self.coding.space.full[groups]
        partial = self.slope[groups] * self.factor[groups, criteria] * share
        return np.where(widths == 0, self.gone[groups], partial)

    def __call__(self, genomes):
        self.asked += [tuple(genome) for genome in self.coding.canonical(genomes).tolist()]
        widths, groups = self.coding.widths(genomes), np.arange(self.coding.groups)
        added = self.table(groups, widths, genomes[:, self.coding.groups :]).sum(1)
        wobble = np.array([hash(tuple(g)) % 1000 / 1000 - 0.5 for g in genomes.tolist()])
        return DENSE + added + self.noise * wobble


@pytest.fixture(params=["residual", "bottleneck", "plain"])
def coding(request, coded):
    return coded(request.param)


def test_losses_that_add_up_are_predicted_for_every_network(coding):
    truth = Additive(coding)
    found = sensitivity.measure(coding, truth)
    genomes = np.random.default_rng(1).integers(0, coding.choices, (200, len(coding.choices)))
    genomes = coding.canonical(genomes)
    assert found.dense == pytest.approx(DENSE)
    assert found.losses(genomes) == pytest.approx(truth(genomes), abs=1e-4)


def test_the_least_harmful_criterion_is_known(coding):
    truth = Additive(coding)
    best = sensitivity.measure(coding, truth).best_criteria()
    for group, grid in enumerate(coding.space.grids):
        for level in range(int(grid[0] == 0), len(grid) - 1):
            assert best[group, level] == truth.factor[group].argmin()


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_wider_group_never_costs_more_and_a_whole_one_nothing(coding, noise):
    added = sensitivity.measure(coding, Additive(coding, noise)).added
    for group, grid in enumerate(coding.space.grids):
        curve = added[group, int(grid[0] == 0) : len(grid)]
        assert (np.diff(curve, axis=0) <= 1e-12).all()
        assert (curve >= 0).all()
        assert (curve[-1] == 0).all()


def test_few_networks_are_scored_and_each_has_one_group_or_branch_changed(coding):
    truth = Additive(coding)
    sensitivity.measure(coding, truth)
    drops = sum(grid[0] == 0 for grid in coding.space.grids)
    most = 1 + drops + coding.groups * (MEASURED_LEVELS - 1 + len(coding.saliencies))
    assert len(truth.asked) <= most
    full, blocks = coding.space.full, [g.block for g in coding.space.groups]
    for genome in truth.asked:
        widths = coding.widths(np.array([genome]))[0]
        changed = np.flatnonzero(widths != full)
        together = len({blocks[i] for i in changed}) == 1 and (widths[changed] == 0).all()
        assert len(changed) <= 1 or together


def test_the_harm_of_a_branch_is_shared_by_its_groups(coded):
    coding = coded("bottleneck")
    truth = Additive(coding)
    added = sensitivity.measure(coding, truth).added[:, 0]
    assert added[1] == pytest.approx(added[2])
    assert added[[1, 2], 0].sum() == pytest.approx(truth.gone[[1, 2]].sum())
