"""Session options that are tried, and those that are the target's own and therefore not."""

from pathlib import Path

from edgeprune.deploy.devices.job import Variant
from edgeprune.deploy.doctor.findings import Trial
from edgeprune.deploy.doctor.sweep import by_the_wall, on_one_clock
from edgeprune.target import Runtime

FILE = Path("model.onnx")


def options(found: list[Trial]) -> list[dict[str, object]]:
    assert all(isinstance(trial.model, Variant) for trial in found)
    return [dict(trial.model.options) for trial in found if isinstance(trial.model, Variant)]


def test_memory_and_levels_are_told_on_one_clock() -> None:
    found = options(on_one_clock(FILE, Runtime(optimisation="basic")))
    assert {"arena": False} in found
    assert {"memory_pattern": False} in found
    assert {"optimisation": "all"} in found
    assert {"optimisation": "basic"} not in found


def test_threads_and_spinning_are_told_by_the_wall() -> None:
    found = options(by_the_wall(FILE, Runtime(threads=2), cores=4))
    assert found == [
        {"threads": 1},
        {"threads": 2, "spinning": True},
        {"threads": 4},
        {"threads": 4, "spinning": True},
    ]


def test_one_core_has_nothing_to_try() -> None:
    assert by_the_wall(FILE, Runtime(), cores=1) == []
