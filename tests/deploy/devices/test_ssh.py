"""A device over ssh: the same record as local://, one clear line per failure, nothing left."""

import asyncio
import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks import loopback
from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.job import Epoch, Job
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

USER = getpass.getuser()


def relu_model() -> bytes:
    node = helper.make_node("Relu", ["input"], ["output"])
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in node.input]
    out = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in node.output]
    graph = helper.make_graph([node], "relu", value, out)
    opset = [helper.make_opsetid("", 17)]
    return bytes(
        onnx.ModelProto.SerializeToString(
            helper.make_model(graph, opset_imports=opset, ir_version=8)
        )
    )


JOB = Job(
    models=(relu_model(),) * 2,
    runtime=Runtime(),
    epochs=(Epoch(open=(0, 1), sequence=(1, 0), rounds=3),) * 2,
    graphs=(0,),
)


@dataclass
class Server:
    """A loopback server: its address, what it does to commands, where it keeps files."""

    port: int
    remote: Path
    rewrite: Callable[[str], str | None] = lambda command: command
    commands: list[str] = field(default_factory=list)

    def uri(self, python: object = sys.executable) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}?python={python}"

    def left(self) -> list[Path]:
        """What lies in the remote temporary folder, once the guardian had time to tidy up."""
        deadline = time.monotonic() + 10
        while (names := list(self.remote.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return names


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    loopback.make_keys(folder)
    shutil.copy(folder / "id_ed25519.pub", folder / "authorized_keys")
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "remote").mkdir()
    return folder


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[Server]:
    """asyncssh's own server, running real commands in real shells."""
    loop = asyncio.new_event_loop()
    made = Server(0, tmp_path / "remote")

    serving: set[Any] = set()

    async def serve(process: Any) -> None:
        serving.add(asyncio.current_task())
        made.commands.append(process.command)
        command = made.rewrite(process.command)
        if command is None:
            process.channel.get_connection().abort()
            return
        await loopback.run(process, command, {**os.environ, "TMPDIR": str(made.remote)})

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opening = loopback.listen(home, "authorized_keys", serve)
    listener = asyncio.run_coroutine_threadsafe(opening, loop).result(10)
    made.port = listener.get_port()
    loopback.know(home, made.port)
    yield made

    async def stop() -> None:
        listener.close()
        await listener.wait_closed()
        await asyncio.gather(*serving, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def openssh(home: Path, tmp_path: Path) -> Iterator[Server]:
    """A real OpenSSH server."""
    sshd = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if sshd is None:
        pytest.skip("OpenSSH's sshd is not installed: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home / 'host_key'}\n"
        f"AuthorizedKeysFile {home / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
        f"SetEnv TMPDIR={tmp_path / 'remote'}\n"
    )
    with subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE
    ) as process:
        stderr = process.stderr
        if stderr is None or b"listening" not in (said := stderr.readline()):
            raise RuntimeError(f"sshd does not start: {said!r}")
        loopback.know(home, port)
        yield Server(port, tmp_path / "remote")
        process.terminate()


def test_the_record_is_that_of_a_local_device(server: Server) -> None:
    there = list(connect(server.uri()).run(JOB))
    here = list(connect("local://").run(JOB))
    assert [line["kind"] for line in there] == ["machine", "graph", "epoch", "epoch"]
    assert [line.keys() for line in there] == [line.keys() for line in here]
    assert there[0]["machine"]["cpu"] == here[0]["machine"]["cpu"]
    assert there[1] == here[1]
    assert [len(r) for r in there[2]["samples"]] == [2, 2, 2]
    assert server.left() == []


@pytest.mark.parametrize("models", [1, 40])
def test_a_job_takes_three_channels_however_many_models_it_has(
    server: Server, models: int
) -> None:
    job = Job(models=(relu_model(),) * models, runtime=Runtime(), graphs=tuple(range(models)))
    assert len(list(connect(server.uri()).run(job))) == 1 + models
    assert len(server.commands) == 3  # the guardian, one upload, the runner


def test_only_the_models_that_a_job_opens_are_sent(server: Server) -> None:
    job = Job(
        models=(b"never opened", relu_model()),
        runtime=Runtime(),
        epochs=(Epoch(open=(1,), sequence=(0,)),) * 1000,
    )
    lines = connect(server.uri()).run(job)
    assert [next(lines)["kind"], next(lines)["kind"]] == ["machine", "epoch"]
    (folder,) = server.remote.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["1.onnx", "runner.py"]
    lines.close()


def test_models_of_any_size_and_content_arrive_as_they_are(server: Server) -> None:
    large = relu_model() + b"\n\x00 1.onnx 3\n" * 200_000  # larger than one chunk
    job = Job(
        models=(large, relu_model()),
        runtime=Runtime(),
        epochs=(Epoch(open=(1,), sequence=(0,)),) * 1000,
    )
    job = replace(job, graphs=(1,), epochs=(*job.epochs, Epoch(open=(0,), sequence=(0,))))
    lines = connect(server.uri()).run(job)
    assert [next(lines)["kind"], next(lines)["kind"]] == ["machine", "graph"]
    (folder,) = server.remote.iterdir()
    assert (folder / "0.onnx").read_bytes() == large
    assert (folder / "1.onnx").read_bytes() == relu_model()
    lines.close()


def test_against_openssh(openssh: Server) -> None:
    lines = list(connect(openssh.uri()).run(JOB))
    assert [line["kind"] for line in lines] == ["machine", "graph", "epoch", "epoch"]
    assert openssh.left() == []


def test_openssh_with_an_unknown_host_key(openssh: Server, home: Path) -> None:
    (home / "known_hosts").write_text("")
    with pytest.raises(MachineError, match="host key is not in known_hosts"):
        list(connect(openssh.uri()).run(JOB))


def test_stopping_early_leaves_nothing_behind(server: Server) -> None:
    job = Job(
        models=JOB.models,
        runtime=Runtime(),
        epochs=(Epoch(open=(0, 1), sequence=(1, 0)),) * 100_000,
    )
    lines = connect(server.uri()).run(job)
    assert next(lines)["kind"] == "machine"
    assert next(lines)["epoch"] == 0
    assert len(list(server.remote.iterdir())) == 1
    lines.close()
    assert server.left() == []


def fails(server: Server, python: object = sys.executable, job: Job = JOB) -> str:
    with pytest.raises(MachineError) as caught:
        list(connect(server.uri(python)).run(job))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("ssh://")
    return message


def test_an_unknown_host_key_is_not_accepted(server: Server, home: Path) -> None:
    (home / "known_hosts").unlink()
    assert "host key is not in known_hosts" in fails(server)


def test_a_changed_host_key_is_not_accepted(server: Server, home: Path) -> None:
    loopback.know(home, server.port, "id_ed25519")
    assert "or another one is" in fails(server)


@pytest.mark.parametrize("word", ["UserKnownHostsFile none", "StrictHostKeyChecking no"])
def test_the_ssh_config_cannot_switch_the_check_off(server: Server, home: Path, word: str) -> None:
    (home / "config").write_text(f"{word}\n")
    (home / "known_hosts").write_text("")
    assert re.search("host key|UserKnownHostsFile none", fails(server))


def test_the_ssh_config_names_host_user_port_and_key(server: Server, home: Path) -> None:
    (home / "id_ed25519").rename(home / "other_key")
    (home / "config").write_text(
        f"Host pi\n HostName 127.0.0.1\n Port {server.port}\n User {USER}\n"
        f" IdentityFile {home / 'other_key'}\n"
    )
    lines = list(connect(f"ssh://pi?python={sys.executable}").run(JOB))
    assert len(lines) == 4


def test_a_refused_login(server: Server, home: Path) -> None:
    (home / "id_ed25519").unlink()
    assert "refused the login" in fails(server)


def test_a_full_disk(server: Server) -> None:
    def full(command: str) -> str:
        folder = re.search(r"\S+/edgeprune-\w+", command)
        uploads = folder and "stdin" in command
        return f"ln -s /dev/full {folder[0]}/0.onnx; {command}" if uploads else command

    server.rewrite = full
    assert "its disk is full" in fails(server)
    assert server.left() == []


def test_no_python(server: Server) -> None:
    assert "no Python there" in fails(server, "/nowhere/python3")


def test_no_onnxruntime(server: Server, tmp_path: Path) -> None:
    bare = script(tmp_path / "bare", f'exec {sys.executable} -S -E "$@"')
    assert "install numpy and onnxruntime" in fails(server, bare)
    assert server.left() == []


def test_a_python_for_another_processor(server: Server, tmp_path: Path) -> None:
    alien = tmp_path / "alien"
    header = bytearray(Path(sys.executable).resolve().read_bytes()[:64])
    header[18:20] = b"\xfd\xfd"  # e_machine
    alien.write_bytes(bytes(header))
    alien.chmod(0o755)
    assert "built for another processor" in fails(server, alien)


def test_a_lost_connection(server: Server) -> None:
    server.rewrite = lambda command: None if "exec" in command else command
    assert "connection was lost" in fails(server)
    assert server.left() == []


def test_a_silent_device(server: Server, tmp_path: Path) -> None:
    mute = script(tmp_path / "mute", "cat > /dev/null")
    job = Job(models=JOB.models, runtime=Runtime(), epochs=JOB.epochs, timeout=0.2)
    assert "no answer for 0 s" in fails(server, mute, job)
    assert server.left() == []


def test_a_device_that_never_reads_what_is_sent(server: Server, tmp_path: Path) -> None:
    deaf = script(tmp_path / "deaf", "exec sleep 1")
    job = Job(
        models=(relu_model(), bytes(8 << 20)), runtime=Runtime(), epochs=JOB.epochs, timeout=0.3
    )
    assert "no answer for 0 s" in fails(server, deaf, job)
    assert server.left() == []


def test_a_folder_that_is_never_made(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.deploy.devices.ssh.CONNECT_SECONDS", 0.5)
    server.rewrite = lambda command: "exec sleep 2"
    assert "no answer for 0 s" in fails(server)


def test_a_far_side_that_never_ends(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.deploy.devices.ssh.CONNECT_SECONDS", 0.5)
    holds = script(tmp_path / "holds", f"[ $1 = -I ] && exec {sys.executable} $@; sleep 3 >&2 &")
    start = time.monotonic()
    assert "measuring broke off" in fails(server, holds)
    assert time.monotonic() - start < 3


def test_answers_of_any_length_arrive_whole(server: Server, tmp_path: Path) -> None:
    (facts,) = connect().run(Job(models=(), runtime=Runtime()))
    graph = {"kind": "graph", "model": 0, "onnx": "QUJD" * (5 << 18)}
    answer = tmp_path / "answer"
    answer.write_text("".join(json.dumps(e) + "\n" for e in (facts, graph, {"kind": "end"})))
    talks = script(
        tmp_path / "talks", f'[ $1 = -I ] && exec {sys.executable} "$@"; exec cat {answer}'
    )
    lines = list(connect(server.uri(talks)).run(replace(JOB, epochs=())))
    assert len(lines[1]["onnx"]) == 5 << 20


def test_a_flood_is_given_up(openssh: Server, tmp_path: Path) -> None:
    flood = script(
        tmp_path / "flood", f'[ $1 = -I ] && exec {sys.executable} "$@"; exec cat /dev/zero'
    )
    assert "more than 64 MiB" in fails(openssh, flood)
    assert openssh.left() == []


def test_nobody_listens(home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = Server(probe.getsockname()[1], home)
        assert "cannot be reached" in fails(nobody)


def test_asyncssh_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(MachineError, match=r"pip install 'edgeprune\[ssh\]'"):
        list(connect("ssh://pi").run(JOB))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ssh://", "is not ssh://"),
        ("ssh://pi/home", "is not ssh://"),
        ("ssh://pi?pyton=x", "is not ssh://"),
        ("ssh://pi?python", "bad query"),
        ("ssh://pi:many", "Port could not be cast"),
        ("ssh://pi:secret@pi", "a password"),
        ("adb://pi", "neither local:// nor ssh://"),
    ],
)
def test_a_wrong_address(uri: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        connect(uri)


def script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path
