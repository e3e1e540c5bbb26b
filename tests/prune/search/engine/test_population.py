"""Who beats whom, against the definition."""

import numpy as np
import pytest

from edgeprune.prune.search.engine.population import Objectives, comparable, spawned


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
