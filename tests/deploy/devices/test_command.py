"""A device behind a command: the same record as local://, one clear line per failure."""

import base64
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from edgeprune.deploy.devices.command import Command
from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.job import Epoch, Job, Line
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

Net = Callable[..., bytes]
URI = f"exec:{sys.executable}"


def asked(net: Net) -> Job:
    return Job(
        models=(net(8), net(4)),
        runtime=Runtime(),
        epochs=(Epoch(open=(0, 1), sequence=(1, 0), rounds=3),) * 2,
        graphs=(0,),
        memory=(1,),
        outputs=(0,),
    )


def operators(line: Line) -> list[str]:
    """Of an optimised graph; where onnxruntime puts which weight changes from run to run."""
    graph = onnx.ModelProto.FromString(base64.b64decode(line["onnx"])).graph
    return [node.op_type for node in graph.node]


def device(line: str) -> Command:
    """A device whose command does something else before, or in place of, starting Python."""
    script = f'{line}\nexec {shlex.quote(sys.executable)} "$@"'
    return Command(["sh", "-c", script, "device"], "exec:pi")


def test_the_record_is_that_of_a_local_device(net: Net) -> None:
    there = list(connect(URI).run(asked(net)))
    here = list(connect("local://").run(asked(net)))
    assert [line.keys() for line in there] == [line.keys() for line in here]
    assert there[0] == here[0]
    assert operators(there[1]) == operators(here[1])
    assert there[3] == here[3]


def test_no_shell_reads_the_command_and_one_on_the_way_leaves_it_alone(net: Net) -> None:
    job = replace(asked(net), epochs=(), memory=())
    joined = f'sh -c "$*" sh {shlex.quote(sys.executable)}'  # as adb and ssh join their words
    remote = Command(["sh", "-c", '/bin/sh -c "$*"', "adb", sys.executable], "exec:adb")
    assert len(list(remote.run(job))) == 3
    assert Command(["a"], "exec:a").command[0] == "a"
    with pytest.raises(MachineError, match=r"measuring broke off|no Python there"):
        list(connect(f"exec:{joined} ; true").run(job))


def test_files_and_modules_where_it_starts_are_not_taken(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("code", "json", "numpy", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('foreign code ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert len(list(connect(URI).run(replace(asked(net), epochs=())))) == 4


def test_models_that_are_not_opened_do_not_travel() -> None:
    job = Job(models=(bytes(300 << 20),), runtime=Runtime(), timeout=20.0)
    start = time.monotonic()
    assert [line["kind"] for line in connect(URI).run(job)] == ["machine"]
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exit 1", "it said nothing"),
        ("echo 'OSError: No space left on device' >&2; exit 1", "its disk is full"),
        ("exec /nowhere/python", "no Python there"),
        ("exec yes", "1001 lines that are no answer"),
        ("exec cat /dev/zero", "more than 64 MiB"),
        ("exec sleep 100", "no answer for 1 s"),
        ("exec cat", "no answer for 1 s"),
        ("yes words >&2", "no answer for 1 s"),
        ("while sleep 0.2; do echo soon; done", "no answer for 1 s"),
        ("kill -9 $$", "it said nothing"),
        (f'exec {sys.executable} -S -E "$@"', "install numpy and onnxruntime"),
    ],
)
def test_what_goes_wrong_is_one_line_in_time(
    net: Net, line: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.deploy.devices.conversation.GRACE", 0.5)
    start = time.monotonic()
    with pytest.raises(MachineError, match=words) as caught:
        list(device(line).run(replace(asked(net), timeout=1.0)))
    assert str(caught.value).startswith("exec:pi")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("line", ["echo Welcome to Pi OS", "echo 7; echo '{}x'", "echo hm >&2"])
def test_a_banner_before(net: Net, line: str) -> None:
    assert len(list(device(line).run(asked(net)))) == 6


def test_a_device_that_dies_while_it_measures(net: Net) -> None:
    endless = replace(asked(net), epochs=(Epoch(open=(0,), sequence=(0,)),) * 100_000)
    dying = "(sleep 2; kill -9 $$) > /dev/null 2>&1 < /dev/null &"
    with pytest.raises(MachineError, match="measuring broke off"):
        list(device(dying).run(endless))


def test_stopping_early_ends_it_and_leaves_no_file(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    endless = replace(asked(net), epochs=(Epoch(open=(0,), sequence=(0,)),) * 100_000)
    lines = device(f"echo $$ > {tmp_path}/pid").run(endless)
    assert [next(lines)["kind"] for _ in range(5)][-1] == "epoch"
    lines.close()
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]


@pytest.mark.parametrize("uri", [URI, "local://"])
def test_a_folder_that_the_runner_made_goes_too(
    net: Net, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # here, and in what is started here
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    slow = net(32, (1, 3, 768, 768))  # some seconds of runs
    job = Job(models=(slow,), runtime=Runtime(), profiles=(0,), profile_seconds=60.0)
    lines = connect(uri).run(job)
    next(lines)
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob("*/0*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.glob("*/0*.json"))  # in the middle of profiling
    lines.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "words"),
    [("exec:", "names no command"), ("exec:  ", "names no command"), ("exec:'a", "No closing")],
)
def test_a_wrong_address(uri: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        connect(uri)
