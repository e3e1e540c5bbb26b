"""A first look at a file on the device: its optimised graph, a profile by node, its pace."""

from base64 import b64decode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune.deploy.artifact.seal import load
from edgeprune.deploy.devices.job import Model
from edgeprune.deploy.doctor.inputs import Inputs, Shape, settle
from edgeprune.deploy.doctor.layers import Layer, layers
from edgeprune.deploy.gate.kernel_layout import Layout, layout
from edgeprune.deploy.timing.pacing import Pace, paces, pilot
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError


@dataclass(frozen=True)
class File:
    """An ONNX file and what its inputs are fed with."""

    path: Path
    proto: Any
    inputs: Inputs


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of one file.

    Attributes:
        file: The file.
        optimised: Its optimised graph, weights left out.
        nodes: Time of each node, as profiled.
        pace: How long it takes to open and to run.
        finite: Whether it answers with numbers only.
        machine: The device's facts.
    """

    file: File
    optimised: bytes
    nodes: tuple[Mapping[str, Any], ...]
    pace: Pace
    finite: bool
    machine: dict[str, Any]

    @property
    def layout(self) -> Layout:
        """Where its convolutions run."""
        return layout(self.optimised)

    def layers(self, median_ms: float) -> tuple[Layer, ...]:
        """Its layers with their shares of a run."""
        return layers(self.file.proto, self.optimised, self.nodes, median_ms)


def read(path: Path, asked: Mapping[str, Shape]) -> File:
    """Read a file and settle the shapes of its inputs.

    Raises:
        InputError: not an ONNX file, or a shape that does not fit.
    """
    proto = load(path)
    return File(path, proto, settle(proto, asked))


def look(files: list[File], setting: Setting, seconds: float) -> list[Look]:
    """Open, run and profile files in turn, in one job on the device.

    Args:
        files: The file, and its baseline where there is one; inputs of the same names.
        setting: How and where they run.
        seconds: No profiled run is begun after so long.

    Raises:
        InputError: a file that onnxruntime cannot load or run.
        MachineError: the device cannot measure.
    """
    every = tuple(range(len(files)))
    job = setting.job([file.path for file in files], [pilot(len(files))])
    shapes = tuple(dict(file.inputs.shapes) for file in files)
    job = replace(job, graphs=every, profiles=every, profile_seconds=seconds, shapes=shapes)
    with closing(setting.device.run(job)) as answer:
        lines = list(answer)
    graphs = [b64decode(line["onnx"]) for line in lines if line["kind"] == "graph"]
    profiles = [tuple(line["nodes"]) for line in lines if line["kind"] == "profile"]
    epoch = next(line for line in lines if line["kind"] == "epoch")
    found = paces(epoch)
    return [
        Look(
            file=file,
            optimised=graphs[number],
            nodes=profiles[number],
            pace=found[number],
            finite=epoch["finite"][number],
            machine=lines[0]["machine"] | {"device": setting.device.uri},
        )
        for number, file in enumerate(files)
    ]


def optimised_graphs(
    models: list[Model], setting: Setting, shapes: Mapping[str, Shape]
) -> list[bytes | None]:
    """The optimised graph of each model; None where onnxruntime refuses it.

    Raises:
        MachineError: the device cannot open them.
    """
    try:
        return list(_graphs(models, setting, shapes))
    except InputError:
        if len(models) == 1:
            return [None]
    return [optimised_graphs([model], setting, shapes)[0] for model in models]


def _graphs(models: list[Model], setting: Setting, shapes: Mapping[str, Shape]) -> list[bytes]:
    job = replace(setting.job(models, []), graphs=tuple(range(len(models))))
    job = replace(job, shapes=(dict(shapes),) * len(models))
    with closing(setting.device.run(job)) as answer:
        return [b64decode(line["onnx"]) for line in answer if line["kind"] == "graph"]
