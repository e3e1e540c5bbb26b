"""An Arm target's kernels are judged by an Arm build's graph, or not at all."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.devices import arm_graph
from edgeprune.deploy.devices.job import Job, Line
from edgeprune.deploy.gate.check import Options, check
from edgeprune.deploy.gate.verdicts import Report, Verdict
from edgeprune.errors import MachineError
from edgeprune.target import TargetProfile
from tests.deploy.conftest import optimised

Make = Callable[..., Any]
BLOCKED = "com.microsoft.nchwc"
ARM = {"arch": "aarch64", "cpu": "emulated cortex-a76", "onnxruntime": "1.32.0"}


def profile(**more: Any) -> TargetProfile:
    content = {"schema": 1, "name": "pi", "core": "cortex-a76", **more}
    return TargetProfile.model_validate(content)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Build an emulated core, or take it away."""

    def build(device: Any) -> None:
        monkeypatch.setattr(arm_graph, "built", lambda core: device)

    build(None)
    return build


def judged(
    files: tuple[Path, Path], device: Any, name: str = "kernel_layout", **more: Any
) -> tuple[Verdict, Report]:
    report = check(files[0], profile(**more), Options(baseline=files[1], device=device))
    (verdict,) = (each for each in report.verdicts if each.name == name)
    return verdict, report


def test_without_an_arm_core_it_is_undecided_and_says_what_decides(
    files: tuple[Path, Path], record: Make, emulator: Callable[[Any], None]
) -> None:
    # On x86 the slim model lost a blocked convolution: no verdict on a Pi.
    device = record(graphs=[optimised(BLOCKED, ""), optimised(BLOCKED, BLOCKED)])
    verdict, report = judged(files, device)
    assert (verdict.outcome, verdict.value) == ("inconclusive", None)
    assert "runs on cortex-a76, and the graph of x86_64 is another" in verdict.evidence
    assert "`edgeprune devices emulate cortex-a76`" in verdict.evidence
    assert "--device emulate://cortex-a76" in verdict.evidence
    assert not any("kernel layout" in note for note in report.notes)


@pytest.mark.parametrize(
    ("there", "outcome"),
    [(("", ""), "met"), ((BLOCKED, ""), "missed")],  # none blocked; one that left
)
def test_the_emulated_cores_graph_decides_whatever_this_machine_has(
    there: tuple[str, str], outcome: str, files: tuple[Path, Path], record: Make,
    emulator: Callable[[Any], None],
) -> None:  # fmt: skip
    dense = [domain and BLOCKED for domain in (there[0], there[0])]
    arm = record(machine=record().machine | ARM | {"emulated": "qemu"},
                 graphs=[optimised(*there), optimised(*dense)])  # fmt: skip
    emulator(arm)
    here = record(graphs=[optimised(BLOCKED)] * 2)
    verdict, report = judged(files, here)
    assert verdict.outcome == outcome
    assert "onnxruntime 1.32.0 for aarch64 (emulated cortex-a76)" in verdict.evidence
    assert [job.epochs for job in arm.jobs] == [()]  # it runs nothing there
    assert report.machine["arch"] == "x86_64"


def test_a_core_that_does_not_start_leaves_it_undecided(
    files: tuple[Path, Path], record: Make, emulator: Callable[[Any], None]
) -> None:
    class Broken:
        uri = "emulate://cortex-a76"

        def run(self, job: Job) -> Generator[Line]:
            raise MachineError("emulate://cortex-a76: it said nothing")
            yield {}

    emulator(Broken())
    verdict, _ = judged(files, record())
    assert verdict.outcome == "inconclusive"
    assert "does not say: emulate://cortex-a76: it said nothing" in verdict.evidence


def test_a_real_arm_device_is_its_own_judge(
    files: tuple[Path, Path], record: Make, emulator: Callable[[Any], None]
) -> None:
    machine = record().machine | {"arch": "aarch64"}
    verdict, _ = judged(files, record(machine=machine, graphs=[optimised("")] * 2))
    assert verdict.outcome == "met"
    assert "none of 1 blocked; graph of onnxruntime 1.31.1 for aarch64" in verdict.evidence


def test_integer_kernels_are_judged_there_too(
    files: tuple[Path, Path], record: Make, emulator: Callable[[Any], None]
) -> None:
    int8 = {"precision": {"mode": "int8"}}
    verdict, _ = judged(files, record(), "float_convolutions", **int8)
    assert verdict.outcome == "inconclusive"
    emulator(record(machine=record().machine | ARM, graphs=[optimised("")] * 2))
    verdict, _ = judged(files, record(), "float_convolutions", **int8)
    assert verdict.outcome == "missed"
    assert "for aarch64" in verdict.evidence
