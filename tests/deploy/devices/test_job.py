"""Jobs as JSON, and what becomes of the lines that a runner answers."""

import json

import pytest

from edgeprune.deploy.devices.job import Epoch, Job, Variant, broken_off, parsed, refused
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.target import Runtime

GRAPH = '{"kind": "graph", "model": 0, "onnx": "QQ=="}'


def test_a_job_travels_as_json() -> None:
    epochs = (Epoch(open=(0,), sequence=(0,), rounds=4),)
    job = Job(
        models=(b"m",), runtime=Runtime(threads=2), epochs=epochs, clock="wall", shapes=((1, 3),)
    )
    assert json.loads(job.to_json(["/x.onnx"])) == {
        "models": ["/x.onnx"],
        "names": ["the model"],
        "options": [{}],
        "shapes": [[1, 3]],
        "threads": 2,
        "providers": ["CPUExecutionProvider"],
        "optimisation": "all",
        "clock": "wall",
        "graphs": [],
        "memory": [],
        "profiles": [],
        "profile_seconds": 2.0,
        "epochs": [
            {"open": [0], "sequence": [0], "rounds": 4, "burst": 2, "warmup": 3, "lead_in": 1}
        ],
    }


def test_a_variant_is_its_file_with_options() -> None:
    job = Job(models=(b"m", Variant(b"m", {"threads": 2})), runtime=Runtime())
    assert job.files == (b"m", b"m")
    assert json.loads(job.to_json(["/x.onnx", "/y.onnx"]))["options"] == [{}, {"threads": 2}]


def test_a_banner_is_not_an_answer() -> None:
    lines = ["Welcome to Pi OS", GRAPH, '{"kind": "end"}', "never read"]
    assert list(parsed(lines, "pi", lambda: "")) == [json.loads(GRAPH)]


def test_an_answer_that_breaks_off_is_named_by_what_stderr_says() -> None:
    answer = parsed([GRAPH], "pi", lambda: "sh: No space left on device")
    assert next(answer) == json.loads(GRAPH)
    with pytest.raises(MachineError, match=r"^pi: its disk is full"):
        next(answer)


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        ("model", "m.onnx: No Op registered", InputError, "cannot take m.onnx: No Op"),
        ("model", "m.onnx: opset 99", InputError, "export it with opset 20 and IR 10"),
        ("model", "m.onnx: protobuf parsing failed", InputError, "m.onnx is not an ONNX file"),
        ("missing", "No module named 'numpy'", MachineError, "install numpy and onnxruntime"),
        ("provider", "X is not in this build", MachineError, "change runtime.providers"),
        ("memory", "bad_alloc", MachineError, "out of memory"),
        ("machine", "[Errno 28] No space left on device", MachineError, "disk is full"),
        ("machine", "MemoryError", MachineError, "out of memory"),
        ("machine", "[Errno 5] I/O error", MachineError, "I/O error"),
    ],
)
def test_refusals(code: str, message: str, kind: type[EdgepruneError], words: str) -> None:
    error = refused(code, message, "pi")
    assert type(error) is kind
    assert words in str(error)


def test_what_a_device_says_is_one_line() -> None:
    said = str(refused("model", "m.onnx: a\n::error::b\x1b[2J", "pi"))
    assert said.endswith("m.onnx: a ::error::b [2J")
    assert str(broken_off("pi", "a\n\x1b[2Jb\n")) == "pi: measuring broke off: [2Jb"


def test_a_job_opens_what_its_parts_name() -> None:
    epochs = (Epoch(open=(4, 1), sequence=(0, 1)), Epoch(open=(1,), sequence=(0,)))
    job = Job(models=(b"m",) * 6, runtime=Runtime(), epochs=epochs, graphs=(0,), memory=(5,))
    assert job.opened == {0, 1, 4, 5}


def test_what_a_device_says_last_is_told() -> None:
    assert str(broken_off("pi", "a\nb\n")) == "pi: measuring broke off: b"
