"""A measuring job as sent to a device, and the parsing of the lines it answers."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeprune.deploy.devices import answers
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.target import Runtime
from edgeprune.text import one_line

OPSET = 20  # of every file that edgeprune writes
IR_VERSION = 10  # the newest that onnxruntime 1.18 loads
Line = dict[str, Any]
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
        most_bytes: Address space of the process; None for all there is.
        shapes: Per model, the shape of its input where the file leaves it open, or shapes by
            the names of its inputs.
        values: By name of input, what all its elements are; else they are random.
        timeout: The longest silence of the device, in seconds.
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
    most_bytes: int | None = None
    shapes: tuple[Shape | None, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    timeout: float = 120.0

    @property
    def opened(self) -> frozenset[int]:
        """Models that some part of the job opens; the others need not be on the device."""
        timed = (model for epoch in self.epochs for model in epoch.open)
        return frozenset((*self.graphs, *self.memory, *self.profiles, *self.outputs, *timed))

    @property
    def files(self) -> tuple[File, ...]:
        """The file of each model, whatever it is opened with."""
        return tuple(m.file if isinstance(m, Variant) else m for m in self.models)

    def to_json(self, paths: list[str]) -> str:
        """The job as the runner reads it, with the models at ``paths`` on the device."""
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
                "most_bytes": self.most_bytes,
                "epochs": [vars(epoch) for epoch in self.epochs],
            }
        )


def parsed(lines: Iterable[str | bytes], where: str, stderr: Callable[[], str]) -> Iterator[Line]:
    """Parse a runner's lines up to its ``end``.

    Args:
        lines: What the runner writes to stdout.
        where: The device, for messages.
        stderr: Asked what the runner wrote there, once its answer broke off.

    Raises:
        InputError: onnxruntime cannot load or run one of the models.
        MachineError: the device cannot do the job, or its answer breaks off.
    """
    banner = 0
    for text in lines:
        line = answers.read_line(text, where)
        if line is None:  # the banner of a login shell, a warning of a provider
            banner += 1
            if banner > answers.MOST_BANNER:
                raise MachineError(f"{where}: it says {banner} lines that are no answer")
            continue
        if line["kind"] == "end":
            return
        if line["kind"] == "error":
            raise refused(line["code"], line["message"], where, line.get("subject", ""))
        yield line
    raise broken_off(where, stderr())


def refused(code: str, message: str, where: str, subject: str = "") -> EdgepruneError:
    """The error for a runner's ``error`` line.

    Args:
        code: What kind it is.
        message: What is wrong; it begins with the subject.
        where: The device.
        subject: Name of the model that it is about, which is no cause of anything.
    """
    message, subject = one_line(message), one_line(subject)
    said = message.removeprefix(f"{subject}:").strip() if subject else message
    name = subject or "the model"
    if code == "model" and "protobuf" in said.lower():
        return InputError(f"{name} is not an ONNX file, or a truncated one")
    if code == "model":
        return InputError(f"onnxruntime on {where} cannot take {name}: {_explained(said)}")
    if code == "machine":
        return broken_off(where, message)
    return MachineError(
        {
            "missing": f"{where}: {message}; install numpy and onnxruntime for that Python",
            "provider": f"{where}: {message}; change runtime.providers of the target",
            "memory": f"{where}: out of memory while measuring; free some or take a smaller model",
        }[code]
    )


def _explained(said: str) -> str:
    """What onnxruntime says of a model, and the next step where one follows from it."""
    for kind, words in NEWER.items():
        if found := re.search(words, said):
            return (
                f"it is of {kind} {found[1]}, the newest it takes is {found[2]}; export it with "
                f"{kind} {found[2]} or lower, or upgrade onnxruntime there"
            )
    for words, step in STEPS.items():
        if words in said.lower():
            return f"{said}; {step}"
    return said


def broken_off(where: str, stderr: str) -> MachineError:
    """The error for an answer that broke off, named by what the device wrote to stderr."""
    text = stderr.lower()
    for words, meaning in CAUSES.items():
        if any(word in text for word in words):
            return MachineError(f"{where}: {meaning}")
    last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
    return MachineError(f"{where}: measuring broke off: {one_line(last)[:300]}")


def silent(where: str, seconds: float) -> MachineError:
    """The error for a device that says nothing any more."""
    return MachineError(f"{where}: no answer for {seconds:.0f} s; measuring was given up")


_EXPORT_AGAIN = f"export it with opset {OPSET} and IR {IR_VERSION}, or upgrade onnxruntime"
NEWER = {  # a model newer than itself: what it has, and the newest that it takes
    "IR": r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
    "opset": r"Opset (\d+) is under development.*till opset (\d+)",
}
STEPS = {  # what onnxruntime says, in lower case, and what helps
    "could not find an implementation": (
        "its providers have no kernel for that operator and element type: export the model with "
        "float32, or name another provider in the target"
    ),
    "is not a registered function/op": (
        "no operator of that name is built in: export the model without it"
    ),
    "opset": _EXPORT_AGAIN,
    "ir version": _EXPORT_AGAIN,
}
CAUSES = {  # words of stderr, in lower case, and what they mean
    ("no space left", "disk quota"): "its disk is full; free some space in its temporary folder",
    ("exec format error", "wrong elf class", "illegal instruction"): (
        "Python or onnxruntime there is built for another processor; install the right build"
    ),
    ("command not found", ": not found", "no such file or directory"): (
        "no Python there; install python3, or name it: ssh://user@host?python=/path/to/python"
    ),
    ("memoryerror", "bad_alloc", "killed"): "out of memory while measuring",
}
