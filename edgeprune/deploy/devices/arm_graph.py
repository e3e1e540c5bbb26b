"""The graphs that an Arm target's onnxruntime makes of models, on a machine that is not one.

The Arm build has other kernels, so this machine's graph says nothing about them. An emulated core
of the target, where one is built, opens the models and says what its build makes of them.
"""

from base64 import b64decode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.devices.emulated import built, uri_of
from edgeprune.deploy.devices.job import Job
from edgeprune.errors import MachineError
from edgeprune.target import Core

ARM = ("aarch64", "arm64")


@dataclass(frozen=True)
class ArmGraphs:
    """What an emulated core shows of models, or why nothing is known.

    Attributes:
        graphs: The optimised graph of each model, empty where none is known.
        where: Which onnxruntime made them.
        unknown: Why there are none, and the command that decides; empty where there are.
    """

    graphs: tuple[bytes, ...] = ()
    where: str = ""
    unknown: str = ""


def is_arm(machine: Mapping[str, Any]) -> bool:
    """Whether a machine runs the 64-bit Arm build of onnxruntime."""
    return str(machine.get("arch", "")).lower() in ARM


def where(machine: Mapping[str, Any]) -> str:
    """Which onnxruntime a machine runs, for a line of evidence."""
    emulated = f" ({machine['cpu']})" if machine.get("emulated") else ""
    return f"graph of onnxruntime {machine['onnxruntime']} for {machine['arch']}{emulated}"


def arm_graphs(job: Job, core: Core, machine: Mapping[str, Any]) -> ArmGraphs:
    """Ask the emulated core of a target, where it is built in its usual place.

    Args:
        job: The models and how they are opened.
        core: The target's core.
        machine: Facts of the device that is no such core, for the reason.
    """
    device = built(core)
    if device is None:
        return ArmGraphs(
            unknown=f"the target runs on {core}, and the graph of {machine['arch']} is another: "
            f"`edgeprune devices emulate {core}` once, then check again, here or with "
            f"--device {uri_of(core, None)}"
        )
    try:
        graphs, facts = optimised(job, device)
    except MachineError as error:
        return ArmGraphs(unknown=f"the emulated core does not say: {error}")
    return ArmGraphs(graphs, where(facts))


def optimised(job: Job, device: Device) -> tuple[tuple[bytes, ...], dict[str, Any]]:
    """The graphs that a device makes of a job's models, without weights, and the device's facts.

    Raises:
        InputError: a model that onnxruntime there cannot load.
        MachineError: the device cannot say.
    """
    asked = replace(job, graphs=tuple(range(len(job.models))), epochs=())
    with closing(device.run(asked)) as lines:
        answer = list(lines)
    found = tuple(b64decode(line["onnx"]) for line in answer if line["kind"] == "graph")
    return found, answer[0]["machine"]  # the machine's line always comes first
