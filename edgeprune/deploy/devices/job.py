"""A measuring job as sent to a device, and the parsing of the lines it answers."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeprune.deploy.devices import answers
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.target import Runtime
from edgeprune.text import one_line

OPSET = 20  # of every file that edgeprune writes
IR_VERSION = 10  # the newest that onnxruntime 1.18 loads
Line = dict[str, Any]
File = Path | bytes
Option = Literal["threads", "optimisation", "spinning", "arena", "memory_pattern", "denormals"]


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
        shapes: Per model, the shape of its input where the file leaves it open, or shapes by
            the names of its inputs.
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
    shapes: tuple[Shape | None, ...] = ()
    timeout: float = 120.0

    @property
    def opened(self) -> frozenset[int]:
        """Models that some part of the job opens; the others need not be on the device."""
        timed = (model for epoch in self.epochs for model in epoch.open)
        return frozenset((*self.graphs, *self.memory, *self.profiles, *timed))

    @property
    def files(self) -> tuple[File, ...]:
        """The file of each model, whatever it is opened with."""
        return tuple(m.file if isinstance(m, Variant) else m for m in self.models)

    def to_json(self, paths: list[str]) -> str:
        """The job as the runner reads it, with the models at ``paths`` on the device."""
        return json.dumps(
            {
                "models": paths,
                "names": [m.name if isinstance(m, Path) else "the model" for m in self.files],
                "options": [
                    dict(m.options) if isinstance(m, Variant) else {} for m in self.models
                ],
                "shapes": self.shapes or None,
                **self.runtime.model_dump(),
                "clock": self.clock,
                "graphs": self.graphs,
                "memory": self.memory,
                "profiles": self.profiles,
                "profile_seconds": self.profile_seconds,
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
            raise refused(line["code"], line["message"], where)
        yield line
    raise broken_off(where, stderr())


def refused(code: str, message: str, where: str) -> EdgepruneError:
    """The error for a runner's ``error`` line."""
    message = one_line(message)
    if code == "model" and "protobuf" in message.lower():
        # The runner puts the file's name before what onnxruntime says.
        return InputError(f"{message.partition(':')[0]} is not an ONNX file, or a truncated one")
    if code == "model":
        return InputError(f"onnxruntime on {where} cannot take {_newer(message) or message}")
    if code == "machine":
        return broken_off(where, message)
    return MachineError(
        {
            "missing": f"{where}: {message}; install numpy and onnxruntime for that Python",
            "provider": f"{where}: {message}; change runtime.providers of the target",
            "memory": f"{where}: out of memory while measuring; free some or take a smaller model",
        }[code]
    )


def _newer(message: str) -> str | None:
    """What onnxruntime says about a model that is newer than itself, in one short sentence."""
    for kind, words in NEWER.items():
        if found := re.search(words, message):
            return (
                f"{message.partition(':')[0]}: it is of {kind} {found[1]}, the newest it takes is "
                f"{found[2]}; {_EXPORT_AGAIN}"
            )
    if any(word in message.lower() for word in ("opset", "ir version")):  # in other words
        return f"{message}; {_EXPORT_AGAIN}"
    return None


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
NEWER = {
    "IR": r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
    "opset": r"Opset (\d+) is under development.*till opset (\d+)",
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
