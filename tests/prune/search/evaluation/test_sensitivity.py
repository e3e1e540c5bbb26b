"""The free damage of genomes: the sum over groups of what the problem says of each alone."""

import numpy as np
import pytest

from edgeprune.prune.search.evaluation import sensitivity
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.sensitivity import SCALE

KINDS = ["residual", "bottleneck", "plain"]


@pytest.fixture(params=KINDS)
def measured(request, judged_problem):
    problem = judged_problem(request.param)
    encoding = Encoding(problem.space, tuple(problem.criteria.values()))
    return problem, sensitivity.measure(problem, encoding)


def test_the_damage_of_a_genome_is_the_sum_over_its_groups_and_dropped_branches(measured):
    problem, found = measured
    encoding = found.encoding
    genomes = np.random.default_rng(1).integers(0, encoding.choices, (50, len(encoding.choices)))
    genomes = encoding.canonical(genomes)
    for genome, widths, loss in zip(
        genomes, encoding.widths(genomes), found.losses(genomes), strict=True
    ):
        names = [problem.criteria_names[c] for c in genome[encoding.groups :]]
        expected = sum(
            problem.damage(name, index, width)
            for index, (name, width) in enumerate(zip(names, widths, strict=True))
            if width
        )
        gone = {g.block for g, w in zip(problem.space.groups, widths, strict=True) if w == 0}
        expected += sum(problem.drops[block] for block in gone)
        assert loss == pytest.approx(SCALE * expected)


def test_a_whole_group_costs_nothing_whatever_its_criterion(measured):
    _, found = measured
    for group, grid in enumerate(found.encoding.space.grids):
        assert found.added[group, len(grid) - 1] == pytest.approx(0, abs=1e-9)


def test_the_least_harmful_criterion_is_known(measured):
    problem, found = measured
    best = found.best_criteria()
    for group, grid in enumerate(found.encoding.space.grids):
        for level in range(int(grid[0] == 0), len(grid) - 1):
            alone = [problem.damage(n, group, grid[level]) for n in problem.criteria_names]
            assert best[group, level] == int(np.argmin(alone))


def test_a_branch_whose_addition_was_not_measured_costs_what_its_channels_cost(judged_problem):
    problem = judged_problem("bottleneck")
    vars(problem)["drops"] = {}
    encoding = Encoding(problem.space, tuple(problem.criteria.values()))
    found = sensitivity.measure(problem, encoding)
    expected = [problem.damage("taylor", index, 0) for index in (1, 2)]
    assert found.added[[1, 2], 0, 0] == pytest.approx(SCALE * np.array(expected))
