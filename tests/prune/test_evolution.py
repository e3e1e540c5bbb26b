import random

import numpy as np
import pytest

from edgeprune.prune.evolution import Front, Objectives, Settings, evolve


def ones_against_left(genomes):
    """Two objectives in conflict: few ones, and few zeros in the left half."""
    half = genomes.shape[1] // 2
    values = np.stack([genomes.sum(1), half - genomes[:, :half].sum(1)], 1).astype(float)
    return Objectives(values, np.zeros(len(genomes)))


def test_the_whole_front_of_a_small_problem_is_found():
    front = evolve(ones_against_left, [2] * 8, Settings(population=24, generations=30))
    assert {tuple(row) for row in front.values.tolist()} == {(k, 4 - k) for k in range(5)}


def test_the_same_seed_gives_the_same_front_and_leaves_the_global_state_alone():
    random.seed(123)
    before = random.getstate()
    first = evolve(ones_against_left, [2] * 12, Settings(population=10, generations=5, seed=3))
    second = evolve(ones_against_left, [2] * 12, Settings(population=10, generations=5, seed=3))
    assert random.getstate() == before
    assert first.genomes.tolist() == second.genomes.tolist()
    other = evolve(ones_against_left, [2] * 12, Settings(population=10, generations=5, seed=4))
    assert other.genomes.tolist() != first.genomes.tolist()


def test_genes_stay_inside_their_choices_and_every_value_is_tried():
    seen = []

    def watch_genes(genomes):
        seen.append(genomes)
        return ones_against_left(genomes)

    evolve(watch_genes, [1, 2, 5, 3], Settings(population=12, generations=20))
    tried = np.concatenate(seen)
    assert [sorted(set(column)) for column in tried.T.tolist()] == [
        [0], [0, 1], [0, 1, 2, 3, 4], [0, 1, 2],
    ]  # fmt: skip


def limited(genomes):
    values = np.stack([-genomes.sum(1), genomes[:, 0]], 1).astype(float)
    return Objectives(values, np.maximum(0.0, genomes.sum(1) - 3.0))


def test_a_feasible_genome_beats_every_infeasible_one():
    front = evolve(limited, [2] * 10, Settings(population=20, generations=25))
    assert (front.violation == 0).all()
    assert front.values[:, 0].min() == -3


def test_the_least_violation_wins_where_nothing_is_feasible():
    def hopeless(genomes):
        return Objectives(-genomes.sum(1, keepdims=True).astype(float), 5.0 + genomes.sum(1))

    front = evolve(hopeless, [2] * 6, Settings(population=16, generations=25))
    assert front.violation.tolist() == [5.0]
    assert front.genomes.sum() == 0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_objectives_never_survive(poison):
    def poisoned(genomes):
        objectives = ones_against_left(genomes)
        objectives.values[genomes[:, 0] == 0, 0] = poison
        return objectives

    front = evolve(poisoned, [2] * 8, Settings(population=16, generations=10))
    assert np.isfinite(front.values).all()
    assert (front.genomes[:, 0] == 1).all()


def test_seeds_are_kept_when_nothing_beats_them_and_the_front_has_no_copies():
    best = np.zeros((1, 30), np.int64)
    best[0, :15] = 1

    def one_answer(genomes):
        return Objectives(
            np.abs(genomes - best).sum(1, keepdims=True).astype(float), 0.0 * genomes[:, 0]
        )

    front = evolve(one_answer, [2] * 30, Settings(population=8, generations=2), seeds=best)
    assert isinstance(front, Front)
    assert front.genomes.tolist() == best.tolist()


def test_progress_is_told_generation_by_generation():
    told = []
    evolve(
        ones_against_left,
        [2] * 4,
        Settings(population=4, generations=3),
        watch=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
