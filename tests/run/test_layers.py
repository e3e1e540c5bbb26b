import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from edgeprune.run import layers
from edgeprune.run.folder import RunFolder


@dataclass
class Problem:
    """Two groups, of 4 and 2 channels, on grids of their own."""

    space = SimpleNamespace(
        full=np.array([4, 2]),
        groups=[SimpleNamespace(name="a", width=4), SimpleNamespace(name="b", width=2)],
        grids=((0, 2, 4), (2,)),
    )
    latency_error = 0.02


def by_block(widths):
    return np.array([float(widths.sum()), 0.5])


@pytest.mark.parametrize("known", [True, False])
def test_widths_damage_and_predicted_time_are_kept_for_the_report(tmp_path, known):
    problem = Problem()
    if known:  # as a cached property that the search has asked for
        damages = ([9.0, 4.0, 2.0, np.inf, 0.0], [3.0, 1.0, 0.0])
        problem.orders = [SimpleNamespace(damage=np.array(each)) for each in damages]
    latency = SimpleNamespace(names=("stem", "beyond the blocks"), by_block=by_block)
    context = SimpleNamespace(problem=problem, latency=latency)
    layers.write(context, RunFolder(tmp_path), np.array([2, 2]))
    found = json.loads((tmp_path / "layers.json").read_text())
    assert found["groups"] == [
        {"name": "a", "dense": 4, "slim": 2, "grid": [0, 2, 4],
         "damage": [9.0, 2.0, 0.0] if known else None},
        {"name": "b", "dense": 2, "slim": 2, "grid": [2], "damage": [0.0] if known else None},
    ]  # fmt: skip
    assert found["blocks"] == [
        {"name": "stem", "dense_ms": 6.0, "slim_ms": 4.0},
        {"name": "beyond the blocks", "dense_ms": 0.5, "slim_ms": 0.5},
    ]
    assert found["latency_error"] == 0.02
