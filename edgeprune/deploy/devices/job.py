"""A measuring job: what a fresh process on a device does, and its JSON for the runner."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeprune.arrays import Floats32
from edgeprune.target import Runtime

OPSET = 20  # of every file that edgeprune writes
IR_VERSION = 10  # the newest that onnxruntime 1.18 loads
Line = dict[str, Any]
RUNNER = Path(__file__).with_name("runner.py")
Option = Literal["threads", "optimisation", "spinning", "arena", "memory_pattern", "denormals"]


@dataclass(frozen=True)
class Loaded:
    """An ONNX file that was read.

    Attributes:
        name: Its name, for messages.
        content: Its bytes, weights included.
    """

    name: str
    content: bytes = field(repr=False)


File = Path | bytes | Loaded


@dataclass(frozen=True)
class Variant:
    """A model that is opened with session options of its own.

    Attributes:
        file: ONNX file, or its bytes.
        options: What takes the place of the runtime's: ``threads`` and ``optimisation`` as there,
            ``spinning`` (waiting threads keep their core), ``arena``, ``memory_pattern``, and
            ``denormals`` (False: they count as zero).
    """

    file: File
    options: Mapping[Option, int | bool | str]


Model = File | Variant
Shape = tuple[int, ...] | Mapping[str, tuple[int, ...]]


def content_of(file: File) -> bytes:
    """The bytes that are sent to a device."""
    if isinstance(file, Path):
        return file.read_bytes()
    return file if isinstance(file, bytes) else file.content


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Sessions opened together and run in turn.

    Attributes:
        open: Indices into ``Job.models``, opened afresh in this order. The same index may come
            several times: copies, each with its own session.
        sequence: One round: positions in ``open``, run one after another. A position may come
            several times (a reference unit beside every unit that is timed).
        rounds: How often the sequence is run and timed.
        burst: Runs of a session each time it is its turn; every one is reported.
        warmup: Runs of each session before the first round.
        lead_in: Rounds run and not reported.
    """

    open: tuple[int, ...]
    sequence: tuple[int, ...]
    rounds: int = 8
    burst: int = 2
    warmup: int = 3
    lead_in: int = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one fresh process on the device does, in this order.

    Attributes:
        models: ONNX files or their bytes, some perhaps with options of their own.
        runtime: Providers, threads and optimisation level, from the target profile.
        epochs: Timed epochs.
        clock: ``cpu`` is the time of the calling thread, honest with one thread only.
        graphs: Models whose optimised graph is wanted.
        memory: Models whose load time and peak memory are wanted; give one model a job.
        profiles: Models whose time is wanted node by node; they run in turn.
        profile_seconds: No further round of profiled runs is begun after so long.
        outputs: Models whose outputs' shapes are wanted.
        batches: Images (N, C, H, W) with the model that answers them.
        most_bytes: Address space of the process; None for all there is.
        shapes: Per model, the shape of its input where the file leaves it open, or shapes by
            the names of its inputs.
        values: By name of input, what all its elements are; else they are random.
        timeout: The longest silence of the device, in seconds.
        times: Whether its times mean anything to the caller. If so, an emulated device refuses.
    """

    models: tuple[Model, ...]
    runtime: Runtime
    epochs: tuple[Epoch, ...] = ()
    clock: Literal["cpu", "wall"] = "cpu"
    graphs: tuple[int, ...] = ()
    memory: tuple[int, ...] = ()
    profiles: tuple[int, ...] = ()
    profile_seconds: float = 2.0
    outputs: tuple[int, ...] = ()
    batches: tuple[tuple[int, Floats32], ...] = ()
    most_bytes: int | None = None
    shapes: tuple[Shape | None, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    timeout: float = 120.0
    times: bool = True

    @property
    def is_timed(self) -> bool:
        """Whether the caller means to use times or memory of it."""
        return self.times and bool(self.epochs or self.profiles or self.memory)

    @property
    def opened(self) -> frozenset[int]:
        """Models that some part of the job opens; the others need not be on the device."""
        timed = (model for epoch in self.epochs for model in epoch.open)
        answering = (model for model, _ in self.batches)
        parts = (*self.graphs, *self.memory, *self.profiles, *self.outputs)
        return frozenset((*parts, *answering, *timed))

    @property
    def answers(self) -> list[tuple[str, int | None]]:
        """Kinds of the lines that a device answers, in order, each with its model or epoch."""
        of_models: dict[str, Sequence[int]] = {
            "graph": self.graphs,
            "memory": self.memory,
            "profile": self.profiles,
            "outputs": self.outputs,
            "logits": [model for model, _ in self.batches],
            "epoch": range(len(self.epochs)),
        }
        found = [(kind, number) for kind, numbers in of_models.items() for number in numbers]
        return [("machine", None), *found]

    @property
    def files(self) -> tuple[File, ...]:
        """The file of each model, whatever it is opened with."""
        return tuple(m.file if isinstance(m, Variant) else m for m in self.models)

    def to_json(self, paths: Sequence[str | int]) -> str:
        """The job as the runner reads it.

        Args:
            paths: Of the models on the device, or how many bytes of a model follow this line.
        """
        return json.dumps(
            {
                "models": paths,
                "names": [getattr(m, "name", "the model") for m in self.files],
                "options": [
                    dict(m.options) if isinstance(m, Variant) else {} for m in self.models
                ],
                "shapes": self.shapes or None,
                "values": dict(self.values),
                **self.runtime.model_dump(),
                "clock": self.clock,
                "graphs": self.graphs,
                "memory": self.memory,
                "profiles": self.profiles,
                "profile_seconds": self.profile_seconds,
                "outputs": self.outputs,
                "batches": [
                    {"model": model, "shape": images.shape, "data": _base64(images)}
                    for model, images in self.batches
                ],
                "most_bytes": self.most_bytes,
                "epochs": [vars(epoch) for epoch in self.epochs],
            }
        )


def _base64(images: Floats32) -> str:
    return base64.b64encode(np.ascontiguousarray(images, "<f4").tobytes()).decode()
