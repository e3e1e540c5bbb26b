import numpy as np
import pytest

from edgeprune.prune.front import knee

CASES = {
    "bent": ([[0, 10], [1, 2], [6, 1], [9, 0]], 1),
    "scales do not count": ([[0, 1000], [0.001, 200], [0.006, 100], [0.009, 0]], 1),
    "one point": ([[3, 4]], 0),
    "one cost for all": ([[1, 5], [2, 5]], 0),
}


@pytest.mark.parametrize(("values", "at"), CASES.values(), ids=CASES)
def test_the_knee_is_the_point_furthest_below_the_chord(values, at):
    assert knee(np.array(values, np.float64)) == at
