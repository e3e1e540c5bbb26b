import random

import numpy as np
import pytest

from edgeprune.prune.search.engine.nsga2 import evolve, mutated
from edgeprune.prune.search.engine.population import Front, Objectives, Settings


def ones_against_left(genomes):
    """Two objectives in conflict: few ones, and few zeros in the left half."""
    half = genomes.shape[1] // 2
    values = np.stack([genomes.sum(1), half - genomes[:, :half].sum(1)], 1).astype(float)
    return Objectives(values, np.zeros(len(genomes)))


def test_the_whole_front_of_a_small_problem_is_found():
    front = evolve(ones_against_left, [2] * 8, Settings(population=24, generations=30))
    assert {tuple(row) for row in front.values.tolist()} == {(k, 4 - k) for k in range(5)}


def test_what_others_draw_meanwhile_changes_nothing():
    def disturbed(genomes):
        random.random()
        return ones_against_left(genomes)

    settings = Settings(population=10, generations=5, seed=3)
    alone, beside = (evolve(f, [2] * 12, settings) for f in (ones_against_left, disturbed))
    assert alone.genomes.tolist() == beside.genomes.tolist()


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
        progress=lambda step, done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def rows(genomes):
    return [tuple(row) for row in genomes.tolist()]


def bytes_of(front):
    return front.genomes.tobytes(), front.values.tobytes(), front.violation.tobytes()


class Counted:
    """An evaluation that keeps every population it was called with."""

    def __init__(self, evaluate=ones_against_left):
        self.calls, self.evaluate = [], evaluate

    def __call__(self, genomes):
        self.calls.append(rows(genomes))
        return self.evaluate(genomes)


def test_nothing_is_evaluated_but_the_start_and_one_brood_a_generation():
    counted = Counted()
    evolve(counted, [2] * 20, Settings(population=10, generations=3))
    assert len(counted.calls) == 4
    assert max(map(len, counted.calls)) <= 10


def test_noise_in_the_last_bits_decides_nothing():
    generator = np.random.default_rng(0)

    def clean(genomes):
        values = 0.37 + ones_against_left(genomes).values
        return Objectives(values, np.maximum(genomes.sum(1) - 6.0, 0.0))

    def noisy(genomes):
        objectives = clean(genomes)
        noise = 1e-6 * generator.random(objectives.values.shape)
        over = objectives.violation > 0
        return Objectives(objectives.values + noise, objectives.violation + over * noise[:, 0])

    settings = Settings(population=8, generations=6)
    first, second = (evolve(each, [2] * 12, settings) for each in (clean, noisy))
    assert bytes_of(first) == bytes_of(second)


def test_numbers_too_large_for_decimals_are_taken_as_they_are():
    def large(genomes):
        return Objectives(1e305 * (1.0 + genomes.sum(1, keepdims=True)), np.zeros(len(genomes)))

    front = evolve(large, [2] * 4, Settings(population=8, generations=8))
    assert front.values.tolist() == [[1e305]]


def test_the_smallest_violation_is_not_rounded_away():
    def nearly(genomes):
        return Objectives(-genomes.sum(1, keepdims=True) * 1.0, genomes[:, 0] * 1e-9)

    front = evolve(nearly, [2] * 6, Settings(population=12, generations=10))
    assert rows(front.genomes) == [(0, 1, 1, 1, 1, 1)]


def at_most_three(genomes):
    """Ones beyond the third from the left are taken away."""
    return genomes * (genomes.cumsum(1) <= 3)


def test_repair_comes_before_every_evaluation_and_leaves_no_copies():
    counted = Counted()
    seeds = np.ones((2, 8), np.int64)
    front = evolve(
        counted, [2] * 8, Settings(population=12, generations=6), seeds, repair=at_most_three
    )
    assert counted.calls[0][0] == (1, 1, 1, 0, 0, 0, 0, 0)
    for call in counted.calls:
        assert len(set(call)) == len(call)
        assert max(map(sum, call)) <= 3
    assert front.genomes.sum(1).max() <= 3


def test_a_repair_that_leaves_one_genome_ends_with_that_one():
    counted = Counted()
    front = evolve(counted, [2] * 6, Settings(population=8, generations=4), repair=lambda g: g * 0)
    assert counted.calls == [[(0,) * 6]]
    assert rows(front.genomes) == [(0,) * 6]


def needle(genomes):
    """All ones is best; seen by the screen as a slope, by the evaluation too."""
    return Objectives(
        (genomes.shape[1] - genomes.sum(1, keepdims=True)) * 1.0, np.zeros(len(genomes))
    )


def test_the_screen_picks_the_best_of_the_brood_and_nothing_is_evaluated_twice():
    screened, counted = Counted(needle), Counted(ones_against_left)
    settings = Settings(population=6, generations=5, brood=4)
    evolve(counted, [2] * 16, settings, screen=screened)
    everything = [genes for call in counted.calls for genes in call]
    assert len(set(everything)) == len(everything)
    assert len(counted.calls) == 6
    for judged, picked in zip(screened.calls, counted.calls[1:], strict=True):
        assert 6 < len(judged) <= 24
        assert len(picked) == 6
        assert set(picked) <= set(judged)
        assert not set(judged) & {
            g for call in counted.calls[: counted.calls.index(picked)] for g in call
        }
        left = set(judged) - set(picked)
        assert min(map(sum, picked)) >= max(map(sum, left))


def test_what_the_screen_calls_infeasible_is_evaluated_last():
    def forbids_the_first(genomes):
        return Objectives(genomes[:, 1:2] * 1.0, genomes[:, 0] * 1.0)

    screened, counted = Counted(forbids_the_first), Counted(ones_against_left)
    evolve(counted, [2] * 16, Settings(population=6, generations=1, brood=8), screen=screened)
    free = [genes for genes in screened.calls[0] if genes[0] == 0]
    assert sum(genes[0] == 0 for genes in counted.calls[1]) == min(6, len(free))


def test_a_space_that_was_evaluated_whole_ends_the_search_quietly():
    counted = Counted()
    evolve(counted, [2] * 3, Settings(population=8, generations=20), screen=needle)
    assert sum(map(len, counted.calls)) == 8


def test_a_failed_evaluation_still_survives_where_there_is_nothing_else():
    def broken(genomes):
        return Objectives(np.full((len(genomes), 2), np.nan), np.zeros(len(genomes)))

    front = evolve(broken, [2] * 8, Settings(population=4, generations=4))
    assert len(front.genomes) == 4
    assert np.isinf(front.violation).all()


@pytest.mark.parametrize("choices", [(2, 2, 2), (2, 5, 3)], ids=str)
def test_genes_take_another_value_at_the_stated_rate_each_other_value_alike(choices):
    """20,000 children: the share of changed genes lies within 5 standard errors of the rate."""
    draws = random.Random(0)
    genes, chance, children = [n - 1 for n in choices], 0.3, 20_000
    bred = np.array([mutated(genes, choices, chance, draws) for _ in range(children)])
    for column, start, count in zip(bred.T, genes, choices, strict=True):
        shares = np.bincount(column, minlength=count) / children
        expected = np.full(count, chance / (count - 1))
        expected[start] = 1 - chance
        assert shares == pytest.approx(expected, abs=5 * (0.25 / children) ** 0.5)


def test_a_gene_of_one_value_stays():
    assert mutated([0, 1], [1, 2], 1.0, random.Random(0)) == [0, 0]


def test_no_more_is_evaluated_than_there_is_room_for():
    seen = []

    def counted(genomes):
        seen.extend(map(tuple, genomes.tolist()))
        return ones_against_left(genomes)

    for most in (3, 10, 25):
        seen.clear()
        settings = Settings(population=10, generations=50)
        evolve(counted, [2] * 20, settings, room=lambda most=most: most - len(seen))
        assert len(seen) == most


def test_without_any_room_the_start_alone_is_evaluated():
    seen = []

    def counted(genomes):
        seen.extend(genomes.tolist())
        return ones_against_left(genomes)

    evolve(counted, [2] * 20, Settings(population=10, generations=50), room=lambda: 0)
    assert len(seen) == 10
