"""A first look at both models on the device: its facts, their kernel layout, pace and outputs."""

from base64 import b64decode
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.devices.arm_graph import arm_graphs, is_arm, where
from edgeprune.deploy.gate.kernel_layout import Layout, layout
from edgeprune.deploy.precision.integer_kernels import IntegerKernels, integer_kernels
from edgeprune.deploy.timing.pacing import Pace, paces, pilot
from edgeprune.deploy.timing.setting import Setting
from edgeprune.target import Core


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """The first look at candidate and reference, in this order.

    Attributes:
        machine: The device's facts.
        layouts: Where their convolutions run on the target.
        integers: Which of them run on integers there.
        where: Which onnxruntime says so.
        unseen: Why it cannot be told of the target; layouts and integers are then the device's.
        paces: How long they take to open and to run.
        finite: Whether they answer with numbers only.
    """

    machine: dict[str, Any]
    layouts: list[Layout]
    integers: list[IntegerKernels]
    where: str
    unseen: str
    paces: tuple[Pace, ...]
    finite: list[bool]


def inspect(
    candidate: Facts, reference: Facts | None, setting: Setting, core: Core | None = None
) -> Inspected:
    """Open and run both once on the device, in one job.

    Where the target has an Arm ``core`` and the device is none, its kernels are looked up on the
    emulated one.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure.
    """
    models = [candidate.model, *([reference.model] if reference else [])]
    job = setting.job(models, [pilot(len(models))])
    # On an emulated device the pace is not used.
    job = replace(job, graphs=tuple(range(len(models))), times=False)
    with closing(setting.device.run(job)) as answer:
        lines = list(answer)
    machine = lines[0]["machine"]  # that line always comes first
    graphs: Sequence[bytes] = [b64decode(ln["onnx"]) for ln in lines if ln["kind"] == "graph"]
    place, unseen = where(machine), ""
    if core and not is_arm(machine):
        found = arm_graphs(job, core, machine)
        graphs, place, unseen = found.graphs or graphs, found.where, found.unknown
    epoch = next(line for line in lines if line["kind"] == "epoch")
    return Inspected(
        machine=machine,
        layouts=list(map(layout, graphs)),
        integers=list(map(integer_kernels, graphs)),
        where=place,
        unseen=unseen,
        paces=paces(epoch),
        finite=epoch["finite"],
    )
