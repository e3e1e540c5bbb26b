"""Parses a device's reply to a job line by line, and names what went wrong by its words."""

import re
import time
from collections.abc import Callable, Iterable, Iterator

from edgeprune.deploy.devices.answers import MOST_BANNER, read_line
from edgeprune.deploy.devices.job import IR_VERSION, OPSET, Job, Line
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.text import one_line

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
        "no Python there; install python3, or name it: ssh://user@host?python=/path/to/python, "
        "the last word of exec:COMMAND"
    ),
    ("memoryerror", "bad_alloc", "killed"): "out of memory while measuring",
}


def parsed(
    lines: Iterable[bytes], where: str, stderr: Callable[[], str], job: Job
) -> Iterator[Line]:
    """Parse a runner's lines up to its ``end``.

    Args:
        lines: What the runner writes to stdout.
        where: The device, for messages.
        stderr: Asked what the runner wrote there, once its answer broke off.
        job: What was asked.

    Raises:
        InputError: onnxruntime cannot load or run one of the models.
        MachineError: the device cannot do the job, its answer breaks off, or it is emulated
            and was to time something.
    """
    wanted, patience = iter((*job.answers, ("end", None))), Patience(where, job.timeout)
    for text in lines:
        line = read_line(text, where)
        if line is None:  # the banner of a login shell, a warning of a provider
            patience.with_banner()
            continue
        if line["kind"] == "error":
            raise refused(line["code"], line["message"], where, line.get("subject", ""))
        found = line["kind"], line.get("model", line.get("epoch"))
        if found != next(wanted):
            raise MachineError(f"{where}: it answers other than it was asked ({found[0]})")
        if line["kind"] == "end":
            return
        if line["kind"] == "machine" and job.is_timed:
            refuse_emulated(line["machine"], where)
        yield line
        patience = Patience(where, job.timeout)
    raise broken_off(where, stderr())


def refuse_emulated(machine: Line, where: str) -> None:
    """Raise MachineError for a device that is emulated: its clock says nothing of a real one."""
    if emulator := machine.get("emulated"):
        raise MachineError(
            f"{where} is emulated ({emulator}): what it takes there says nothing of a device, so "
            "nothing is timed on it; `edgeprune check` judges all else there, time on the board"
        )


class Patience:
    """How much a device may say that is no answer, and for how long."""

    def __init__(self, where: str, seconds: float) -> None:
        self.where, self.seconds = where, seconds
        self.end, self.banner = time.monotonic() + seconds, 0

    def with_banner(self) -> None:
        """Bear one more line that is no answer.

        Raises:
            MachineError: it was one too many, or came after so long.
        """
        self.banner += 1
        if self.banner > MOST_BANNER:
            raise MachineError(f"{self.where}: it says {self.banner} lines that are no answer")
        if time.monotonic() > self.end:
            raise silent(self.where, self.seconds)


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
