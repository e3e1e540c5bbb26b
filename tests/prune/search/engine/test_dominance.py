"""Non-dominated sorting against the definition, and knees by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.search.engine.dominance import fronts, knee
from edgeprune.prune.search.engine.population import Objectives, comparable


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
    ("values", "at"),
    [
        ([[0, 10], [1, 1], [10, 0]], 1),
        ([[0, 1e6], [0.2, 1e5], [1, 0]], 1),  # both axes are scaled to 1
        ([[0, 4], [2, 2], [4, 0]], 0),  # on a line the first
        ([[3, 3]], 0),
    ],
)
def test_the_knee_lies_furthest_below_the_line_between_the_ends(values, at):
    assert knee(np.array(values, float)) == at
