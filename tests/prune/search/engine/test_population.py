"""Who beats whom, against the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.search.engine.dominance import fronts
from edgeprune.prune.search.engine.population import Objectives, comparable, spawned


def beats(objectives, i, j):
    if objectives.violation[i] != objectives.violation[j]:
        return objectives.violation[i] < objectives.violation[j]
    a, b = objectives.values[i], objectives.values[j]
    return bool((a <= b).all() and (a < b).any())


def plain_fronts(objectives):
    left, found = list(range(len(objectives.violation))), []
    while left:
        best = [j for j in left if not any(beats(objectives, i, j) for i in left)]
        found.append(best)
        left = [i for i in left if i not in best]
    return found


@given(st.integers(1, 30), st.integers(1, 3), st.integers(0, 10_000), st.integers(1, 40))
def test_fronts_are_peeled_off_as_defined(population, objectives, seed, count):
    generator = np.random.default_rng(seed)
    judged = Objectives(
        generator.integers(0, 5, (population, objectives)).astype(float),
        np.maximum(generator.integers(-3, 3, population), 0).astype(float),
    )
    expected = plain_fronts(judged)
    found = fronts(judged, count)
    assert found == expected[: len(found)]
    held = sum(map(len, found))
    assert held >= min(count, population)
    assert held - len(found[-1]) < count


def test_failures_come_after_everything_else():
    values = np.array([[np.nan, 0.0], [9.0, 9.0], [-np.inf, 0.0], [1.0, 1.0]])
    judged = comparable(Objectives(values, np.array([0.0, 5.0, 0.0, 0.0])))
    assert fronts(judged, 4) == [[3], [1], [0, 2]]


@pytest.mark.parametrize(
    ("given_violation", "violation"),
    [(0.0, 0.0), (-1.0, 0.0), (1e-12, 1e-4), (0.12344, 0.1234), (np.nan, np.inf)],
)
def test_violations_are_rounded_but_never_to_nothing(given_violation, violation):
    judged = comparable(Objectives(np.zeros((1, 1)), np.array([given_violation])))
    assert judged.violation.tolist() == [violation]


def test_values_are_rounded_to_four_decimals():
    judged = comparable(Objectives(np.array([[0.123449, -2.00006, 1e300]]), np.zeros(1)))
    assert judged.values.tolist() == [[0.1234, -2.0001, 1e300]]


def test_parts_of_a_search_draw_from_seeds_of_their_own():
    """Seed plus part would give part 1 of seed 0 what part 0 of seed 1 gets."""
    seeds = [seed for run in range(20) for seed in spawned(run, 20)]
    assert len(set(seeds)) == 400
    assert spawned(3, 5) == spawned(3, 8)[:5]
