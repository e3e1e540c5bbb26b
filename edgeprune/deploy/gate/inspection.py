"""A first look at both models on the device: its facts, their kernel layout, pace and outputs."""

from base64 import b64decode
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.gate.kernel_layout import Layout, layout
from edgeprune.deploy.precision.integer_kernels import IntegerKernels, integer_kernels
from edgeprune.deploy.timing.pacing import Pace, paces, pilot
from edgeprune.deploy.timing.setting import Setting


@dataclass(frozen=True)
class Inspected:
    """The first look at candidate and reference, in this order.

    Attributes:
        machine: The device's facts.
        layouts: Where their convolutions run.
        integers: Which of them run on integers.
        paces: How long they take to open and to run.
        finite: Whether they answer with numbers only.
    """

    machine: dict[str, Any]
    layouts: list[Layout]
    integers: list[IntegerKernels]
    paces: tuple[Pace, ...]
    finite: list[bool]


def inspect(candidate: Facts, reference: Facts | None, setting: Setting) -> Inspected:
    """Open and run both once on the device, in one job.

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
    graphs = [b64decode(line["onnx"]) for line in lines if line["kind"] == "graph"]
    epoch = next(line for line in lines if line["kind"] == "epoch")
    # The machine's line always comes first.
    return Inspected(
        lines[0]["machine"],
        list(map(layout, graphs)),
        list(map(integer_kernels, graphs)),
        paces(epoch),
        epoch["finite"],
    )
