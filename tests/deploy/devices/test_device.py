"""Jobs in a fresh local process: the lines that come back, one clear line per failure."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeprune.deploy.devices.device import Local, connect
from edgeprune.deploy.devices.job import Epoch, Job
from edgeprune.errors import InputError, MachineError
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
        (
            """echo '{"kind": "memory", "model": 0, "load_ns": 1, "peak_bytes": 1}'; exit 1""",
            "it answers other than it was asked",
        ),
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


def test_errors_name_the_file_that_was_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"no model")
    asked = Job(models=(path,), runtime=Runtime(), graphs=(0,))
    assert json.loads(asked.to_json(["/tmp/x/0.onnx"]))["names"] == ["mine.onnx"]
    with pytest.raises(InputError, match=r"^mine\.onnx is not an ONNX file"):
        list(connect("local://").run(asked))
