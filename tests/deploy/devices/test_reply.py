"""What becomes of the lines that a runner answers, and of those that it should not."""

import json
from dataclasses import replace
from itertools import chain, repeat

import pytest

from edgeprune.deploy.devices.job import Epoch, Job
from edgeprune.deploy.devices.reply import broken_off, parsed, refused
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.target import Runtime

MACHINE = {
    "arch": "aarch64",
    "system": "Linux",
    "cpu": "Raspberry Pi 5",
    "cores": 4,
    "allowed_cores": 4,
    "isa": ["asimd"],
    "memory_bytes": 8 << 30,
    "governor": None,
    "cgroup_quota": None,
    "python": "3.11.2",
    "onnxruntime": "1.32.0",
    "providers": ["CPUExecutionProvider"],
}
FACTS = {"kind": "machine", "machine": MACHINE}
GRAPH = {"kind": "graph", "model": 0, "onnx": "QQ=="}
END = {"kind": "end"}
JOB = Job(models=(b"m",), runtime=Runtime(), graphs=(0,))


def said(*lines: dict[str, object]) -> list[bytes]:
    return [json.dumps(line).encode() for line in lines]


def test_a_banner_is_not_an_answer() -> None:
    lines = [b"Welcome to Pi OS", *said(FACTS), b"7", *said(GRAPH, END), b"never read"]
    assert list(parsed(lines, "pi", lambda: "", JOB)) == [FACTS, GRAPH]


def test_a_banner_without_end_is_given_up() -> None:
    with pytest.raises(MachineError, match="1001 lines that are no answer"):
        list(parsed(repeat(b"welcome"), "pi", lambda: "", JOB))


def test_a_banner_takes_no_longer_than_silence_may() -> None:
    job = Job(models=(), runtime=Runtime(), timeout=0.0)
    with pytest.raises(MachineError, match="no answer for 0 s"):
        list(parsed(repeat(b"welcome"), "pi", lambda: "", job))


@pytest.mark.parametrize(
    "lines", [[GRAPH], [FACTS, END], [FACTS, FACTS], [FACTS, GRAPH | {"model": 1}]]
)
def test_an_answer_is_what_was_asked(lines: list[dict[str, object]]) -> None:
    with pytest.raises(MachineError, match=r"^pi: it answers other than it was asked"):
        list(parsed(said(*lines), "pi", lambda: "", JOB))


def test_answers_without_end_are_given_up() -> None:
    with pytest.raises(MachineError, match="other than it was asked"):
        list(parsed(chain(said(FACTS), repeat(*said(GRAPH))), "pi", lambda: "", JOB))


def test_an_answer_that_breaks_off_is_named_by_what_stderr_says() -> None:
    answer = parsed(said(FACTS), "pi", lambda: "sh: No space left on device", JOB)
    assert next(answer) == FACTS
    with pytest.raises(MachineError, match=r"^pi: its disk is full"):
        next(answer)


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        ("model", "m.onnx: No Op registered", InputError, "cannot take m.onnx: No Op"),
        ("model", "m.onnx: opset 99", InputError, "export it with opset 20 and IR 10"),
        ("model", "m.onnx: protobuf parsing failed", InputError, "m.onnx is not an ONNX file"),
        ("model", "m.onnx: no implementation for Conv(11)", InputError, "m.onnx: no implementa"),
        (
            "model",
            "m.onnx: Could not find an implementation for Conv(11) node",
            InputError,
            "export the model with float32",
        ),
        ("missing", "No module named 'numpy'", MachineError, "install numpy and onnxruntime"),
        ("provider", "X is not in this build", MachineError, "change runtime.providers"),
        ("memory", "bad_alloc", MachineError, "out of memory"),
        ("machine", "[Errno 28] No space left on device", MachineError, "disk is full"),
        ("machine", "MemoryError", MachineError, "out of memory"),
        ("machine", "[Errno 5] I/O error", MachineError, "I/O error"),
    ],
)
def test_refusals(code: str, message: str, kind: type[EdgepruneError], words: str) -> None:
    error = refused(code, message, "pi", "m.onnx")
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize("name", ["model_opset17.onnx", "protobuf.onnx", "ir version: 3.onnx"])
def test_advice_follows_the_cause_and_not_the_name_of_the_file(name: str) -> None:
    error = refused("model", f"{name}: it lacks an input", "pi", name)
    assert str(error) == f"onnxruntime on pi cannot take {name}: it lacks an input"


def test_what_a_device_says_is_one_line() -> None:
    said = str(refused("model", "m.onnx: a\n::error::b\x1b[2J", "pi", "m.onnx"))
    assert said.endswith("m.onnx: a ::error::b [2J")
    assert str(broken_off("pi", "a\n\x1b[2Jb\n")) == "pi: measuring broke off: [2Jb"


def test_what_a_device_says_last_is_told() -> None:
    assert str(broken_off("pi", "a\nb\n")) == "pi: measuring broke off: b"


def test_an_emulated_device_times_nothing() -> None:
    machine = {"kind": "machine", "machine": MACHINE | {"emulated": "qemu-aarch64-static"}}
    job = replace(JOB, graphs=(), epochs=(Epoch(open=(0,), sequence=(0,)),))
    for timed in (job, replace(JOB, memory=(0,)), replace(JOB, profiles=(0,))):
        with pytest.raises(MachineError, match=r"^pi is emulated \(qemu-aarch64-static\)"):
            list(parsed(said(machine), "pi", lambda: "", timed))
    for untimed in (replace(job, times=False), JOB):
        answer = parsed(said(machine), "pi", lambda: "", untimed)
        assert next(answer)["machine"]["emulated"] == "qemu-aarch64-static"
