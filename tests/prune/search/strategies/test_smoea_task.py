"""Genomes of one sub-network: what they decode to, what they are worth, how they are repaired."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgeprune.prune.search.engine.population import Front, Settings
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.strategies import smoea
from edgeprune.prune.search.strategies.smoea_task import Task, widths_of
from edgeprune.prune.space.budget import Limits

QUICK = Settings(population=6, generations=2)


@pytest.fixture
def task(judged_problem):
    problem = judged_problem("residual")
    masks = tuple(torch.ones(group.width, dtype=torch.bool) for group in problem.space.groups)
    parts = smoea.subnetworks(problem.space)
    return Task(
        problem=problem,
        parts=parts,
        number=0,
        standing=masks,
        limits=Limits(latency=0.7),
        damage=lambda masks: 0.5,
        last=True,
    )


def test_set_bits_stay_first_and_the_salient_fill_up(task):
    """Of 16 channels 4 stay: the two set ones, and the two most salient of the rest."""
    first = task.members[0]
    saliency = task.problem.criteria["taylor"][first].numpy()
    order = np.argsort(-saliency)
    genome = np.zeros((1, len(task.choices)), np.int64)
    genome[0, 0] = task.problem.space.grids[first].index(4)
    genome[0, len(task.members) + order[-2:]] = 1
    masks, widths = task.decode(genome)
    assert widths[0, first] == 4
    assert sorted(masks[0][0].nonzero()[0]) == sorted([*order[:2], *order[-2:]])


def test_repair_gives_one_genome_for_each_mask(task):
    generator = np.random.default_rng(0)
    genomes = np.stack([generator.integers(0, n, 30) for n in task.choices], 1)
    relaxed = replace(task, limits=Limits())
    fixed = relaxed.repair(genomes)
    assert np.array_equal(fixed, relaxed.repair(fixed))
    pairs = zip(task.decode(genomes)[0], task.decode(fixed)[0], strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_repair_narrows_what_breaks_the_budget_and_no_further_than_it_must(task):
    full = task.seeds(QUICK)[2:3]
    fixed = task.repair(full)
    assert task.objectives(full).violation[0] > 0
    assert task.objectives(fixed).violation[0] == 0
    widths = task.decode(fixed)[1]
    wider = task.problem.space.snap(np.minimum(widths + 1, task.problem.space.full))
    assert task._violation(wider)[0] > 0


def test_a_mask_is_run_once_and_what_breaks_the_budget_never(task):
    seen = []

    def damage(masks):
        seen.append(masks)
        return float(len(seen))

    watched = replace(task, damage=smoea._remembered(Memo(), "here", damage))
    genomes = np.concatenate([task.seeds(QUICK), task.seeds(QUICK)])
    values = watched.objectives(genomes)
    half = len(genomes) // 2
    assert np.array_equal(values.values[:half], values.values[half:])
    kept = {g.tobytes() for g in task.repair(genomes)[values.violation == 0]}
    assert len(seen) == len(kept) > 0
    assert (values.violation > 0).any()


def test_saving_more_than_the_share_counts_as_no_cheaper(task):
    smallest, full = task.seeds(QUICK)[[0, 2]]
    first = replace(task, last=False).objectives(np.stack([smallest, full]))
    share = first.values[0, 1]
    assert 0.7 < share < first.values[1, 1] == 1
    assert task.problem.costs.ratios(task.decode(smallest[None])[1])[0, 0] < share
    assert (first.violation == 0).all()
    assert task.objectives(full[None]).violation[0] == pytest.approx(1 / share - 1)


def test_the_knee_of_the_front_is_taken(task):
    genomes = task.seeds(QUICK)[:3]
    front = Front(genomes, np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]]), np.zeros(3))
    masks, lost = task.compromise(front)
    assert lost == 0.1
    wanted, _ = task.decode(genomes[1:2])
    for member, mask in zip(task.members, wanted, strict=True):
        assert np.array_equal(masks[member].numpy(), mask[0])


def test_masks_are_counted():
    masks = (torch.tensor([True, False, True]), torch.tensor([False]))
    assert widths_of(masks).tolist() == [2, 0]
