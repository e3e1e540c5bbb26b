"""Jobs in a fresh local process: the lines that come back, one clear line per failure."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeprune.deploy.devices.device import Local, connect
from edgeprune.deploy.devices.job import Epoch, Job, broken_off, parsed, refused
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.target import Runtime

Net = Callable[..., bytes]


def test_files_and_bytes_are_models(files: tuple[Path, Path], net: Net) -> None:
    job = Job(
        models=(files[0], net(8)),
        runtime=Runtime(),
        epochs=(Epoch(open=(0, 1), sequence=(1, 0)),),
        graphs=(1,),
        memory=(0,),
    )
    lines = list(connect("local://").run(job))
    assert [line["kind"] for line in lines] == ["machine", "graph", "memory", "epoch"]
    assert lines[0]["machine"]["onnxruntime"]
    assert len(lines[3]["samples"]) == 8


def test_stopping_early_ends_the_process(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    job = Job(
        models=(net(8),), runtime=Runtime(), epochs=(Epoch(open=(0,), sequence=(0,)),) * 100_000
    )
    with closing(connect().run(job)) as lines:
        assert next(lines)["kind"] == "machine"
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_onnxruntime_does_not_take(net: Net) -> None:
    with pytest.raises(InputError, match="not an ONNX file"):
        list(
            connect().run(
                Job(
                    models=(b"text",), runtime=Runtime(), epochs=(Epoch(open=(0,), sequence=(0,)),)
                )
            )
        )


def test_a_provider_that_is_not_there(net: Net) -> None:
    job = Job(models=(net(8),), runtime=Runtime(providers=("QNNExecutionProvider",)))
    with pytest.raises(MachineError, match="this machine: QNNExecutionProvider is not in"):
        list(connect().run(job))


def script(path: Path, lines: str) -> str:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("echo 'OSError: No space left on device' >&2", "its disk is full"),
        ("echo one >&2; echo two >&2; exit 1", "measuring broke off: two"),
        ("exit 1", "it said nothing"),
        ("""echo '{"kind": "machine"}'; exit 1""", "measuring broke off"),
    ],
)
def test_a_process_that_breaks_off(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(MachineError, match=words):
        list(Local(script(tmp_path / "python", lines)).run(Job(models=(), runtime=Runtime())))


def test_a_silent_process(tmp_path: Path) -> None:
    mute = script(tmp_path / "python", "cat > /dev/null")
    with pytest.raises(MachineError, match="no answer for 0 s"):
        list(Local(mute).run(Job(models=(), runtime=Runtime(), timeout=0.1)))


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot start measuring"):
        list(Local(str(tmp_path / "nowhere")).run(Job(models=(), runtime=Runtime())))


def test_the_interpreter_lacks_onnxruntime(tmp_path: Path) -> None:
    bare = script(tmp_path / "python", f'exec {sys.executable} -S -E "$@"')
    with pytest.raises(MachineError, match="install numpy and onnxruntime"):
        list(Local(bare).run(Job(models=(), runtime=Runtime())))


def test_a_job_travels_as_json() -> None:
    epochs = (Epoch(open=(0,), sequence=(0,), rounds=4),)
    job = Job(
        models=(b"m",), runtime=Runtime(threads=2), epochs=epochs, clock="wall", shapes=((1, 3),)
    )
    assert json.loads(job.to_json(["/x.onnx"])) == {
        "models": ["/x.onnx"],
        "names": ["the model"],
        "shapes": [[1, 3]],
        "threads": 2,
        "providers": ["CPUExecutionProvider"],
        "optimisation": "all",
        "clock": "wall",
        "graphs": [],
        "memory": [],
        "epochs": [
            {"open": [0], "sequence": [0], "rounds": 4, "burst": 2, "warmup": 3, "lead_in": 1}
        ],
    }


def test_a_banner_is_not_an_answer() -> None:
    lines = ["Welcome to Pi OS", '{"kind": "machine"}', '{"kind": "end"}', "never read"]
    assert list(parsed(lines, "pi", lambda: "")) == [{"kind": "machine"}]


def test_an_answer_that_breaks_off_is_named_by_what_stderr_says() -> None:
    answer = parsed(['{"kind": "machine"}'], "pi", lambda: "sh: No space left on device")
    assert next(answer) == {"kind": "machine"}
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


def test_errors_name_the_file_that_was_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"no model")
    asked = Job(models=(path,), runtime=Runtime(), graphs=(0,))
    assert json.loads(asked.to_json(["/tmp/x/0.onnx"]))["names"] == ["mine.onnx"]
    with pytest.raises(InputError, match=r"^mine\.onnx is not an ONNX file"):
        list(connect("local://").run(asked))


def test_what_a_device_says_is_one_line() -> None:
    said = str(refused("model", "m.onnx: a\n::error::b\x1b[2J", "pi"))
    assert said.endswith("m.onnx: a ::error::b [2J")
    assert str(broken_off("pi", "a\n\x1b[2Jb\n")) == "pi: measuring broke off: [2Jb"


def test_what_a_device_says_last_is_told() -> None:
    assert str(broken_off("pi", "a\nb\n")) == "pi: measuring broke off: b"
