"""An emulated Arm core from its root to the command line: pytest -m arm, needs QEMU."""

import base64
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks import loopback
from edgeprune.deploy.artifact import parity_samples, seal
from edgeprune.deploy.artifact.provenance import PairedCounts, Provenance
from edgeprune.deploy.devices.arm_root import build
from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.emulated import QEMU, emulated, uri_of
from edgeprune.deploy.devices.job import Epoch, Job
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision import on_arm
from edgeprune.deploy.precision.recovery import recovered
from edgeprune.deploy.precision.saturation import saturating
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.trials import Quantiser
from edgeprune.errors import MachineError
from edgeprune.target import Runtime, TargetProfile
from tests.deploy.conftest import convnet
from tests.deploy.precision.test_saturation import CONVOLUTIONS, network

pytestmark = [
    pytest.mark.arm,
    pytest.mark.skipif(
        not any(map(shutil.which, QEMU)), reason="no QEMU: apt-get install qemu-user-static"
    ),
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get: not a Debian system"),
]
CORES = ("cortex-a53", "cortex-a76")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the roots of both cores, the usual one of a cache that a test may name."""
    folder = tmp_path_factory.mktemp("cache") / "edgeprune/emulate"
    for core in CORES:
        build(core, folder)
    return folder


@pytest.fixture(params=CORES)
def uri(request: pytest.FixtureRequest, root: Path) -> str:
    return uri_of(request.param, root)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A slim file that records real answers to its images, with its dense.onnx beside it."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    images = parity_samples.network_input(pixels, (8, 8), (0.5,) * 3, (0.5,) * 3)
    session = open_session(convnet(4), Runtime())
    logits = np.concatenate([session.run(image[None]) for image in images])
    record: dict[str, Any] = {
        "version": "0.1.0",
        "model": "convnet",
        "target": "t",
        "target_sha256": "0" * 64,
        "input_shape": (3, 8, 8),
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "classes": ("a", "b", "c", "d"),
        "macs": 400,
        "params": 40,
    }
    dense = seal.write(
        tmp_path / "dense.onnx", onnx.ModelProto.FromString(convnet(8)), Provenance(**record)
    )
    record |= {
        "dense_sha256": dense,
        "parity": parity_samples.pack(pixels, logits),
        "accuracy_dense": 0.901,
        "accuracy_slim": 0.901,
        "answers": PairedCounts(both=9000, dense=10, slim=10, neither=980),
    }
    path = tmp_path / "model.onnx"
    seal.write(path, onnx.ModelProto.FromString(convnet(4)), Provenance(**record))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(
        'schema = 1\nname = "t"\n[budget.relative]\nlatency = 0.5\naccuracy_drop = 1.0\n'
        "[budget.absolute]\np50_ms = 5\np90_ms = 6\nload_ms = 50\npeak_bytes = 90000000\n"
        "macs = 100000\n"
    )
    return path


def with_cores(root: Path) -> dict[str, str]:
    """An environment in which these cores lie in their usual place."""
    return os.environ | {"XDG_CACHE_HOME": str(root.parent.parent)}


def edgeprune(*words: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edgeprune", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_the_device_is_the_core_that_was_asked_for(uri: str, root: Path) -> None:
    done = edgeprune("devices", "check", uri, "--json", "-")
    record = json.loads(done.stdout)
    core = uri.removeprefix("emulate://").partition("?")[0]
    assert record["machine"]["cpu"] == f"emulated {core}"
    assert record["machine"]["emulated"] in QEMU
    assert ("asimddp" in record["machine"]["isa"]) is (core == "cortex-a76")
    assert record["fingerprint"].startswith(f"emulated-{core}-")


def test_all_but_time_is_judged(uri: str, sealed: Path, target: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ("check", sealed, "--target", target, "--device", uri, "--json", report)
    done = edgeprune(*words)
    assert done.returncode == 0, done.stderr
    verdicts = {each["name"]: each for each in json.loads(report.read_text())["verdicts"]}
    outcomes = {name: each["outcome"] for name, each in verdicts.items()}
    timed = dict.fromkeys(["latency", "p50_ms", "p90_ms", "load_ms", "peak_bytes"], "inconclusive")
    judged = dict.fromkeys(["seal", "parity", "accuracy_drop", "kernel_layout", "macs"], "met")
    assert outcomes == judged | timed
    assert all("the device is emulated" in verdicts[name]["evidence"] for name in timed)
    assert "100% of the classes agree" in verdicts["parity"]["evidence"]
    assert "note: emulated: qemu" in done.stdout
    assert json.loads(report.read_text())["latency"] == {}
    assert edgeprune(*words, "--on-inconclusive", "fail").returncode == 4


def test_a_file_that_answers_otherwise_is_missed(root: Path, sealed: Path, target: Path) -> None:
    proto = onnx.load(sealed)
    provenance = seal.verify(sealed)
    assert provenance.parity
    wrong = tuple(tuple(2 * value for value in row) for row in provenance.parity.logits)
    samples = provenance.parity.model_copy(update={"logits": wrong})
    del proto.metadata_props[:]
    sealed.unlink()
    seal.write(sealed, proto, provenance.model_copy(update={"parity": samples}))
    words = ("check", sealed, "--target", target, "--device", uri_of("cortex-a53", root))
    done = edgeprune(*words)
    assert done.returncode == 1
    assert "missed: parity" in done.stdout


def test_an_arm_targets_kernels_are_judged_by_its_own_graph(
    root: Path, sealed: Path, target: Path, tmp_path: Path
) -> None:
    target.write_text(target.read_text().replace('"t"\n', '"t"\ncore = "cortex-a76"\n'))
    words = ("check", sealed, "--target", target)
    nowhere = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "empty")}
    done = edgeprune(*words, env=nowhere)
    assert "inconclusive: kernel_layout; the target runs on cortex-a76, and the" in done.stdout
    assert "`edgeprune devices emulate cortex-a76` once, then check again" in done.stdout
    done = edgeprune(*words, env=with_cores(root))
    said = "met: kernel_layout; none of 2 blocked; graph of onnxruntime"
    assert said in done.stdout
    assert "for aarch64 (emulated cortex-a76)" in done.stdout


def test_a_grid_is_looked_at_in_the_arm_graph(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "pi.toml"
    path.write_text(
        'schema = 1\nname = "pi"\ncore = "cortex-a76"\n[channels]\ngrid = [8, 12, 16, 64]\n'
    )
    done = edgeprune("targets", "show", path, env=with_cores(root))
    assert "# emulated (graph only): a list in the profile; every width has" in done.stdout


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Any) -> None:
        self.images = iter(images)

    def get_next(self) -> Any:
        image = next(self.images, None)
        return None if image is None else {"input": image[None]}


@pytest.mark.parametrize("activations", ["QUInt8", "QInt8"])
def test_int8_answers_as_on_x86_and_runs_on_integers(
    uri: str, tmp_path: Path, activations: str
) -> None:
    plain, made = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    (tmp_path / "float.onnx").write_bytes(convnet(16))
    quant_pre_process(tmp_path / "float.onnx", plain)
    images = np.random.default_rng(1).standard_normal((32, 3, 8, 8)).astype(np.float32)
    quantize_static(
        plain,
        made,
        _Calibration(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=getattr(QuantType, activations),
        weight_type=QuantType.QInt8,
        reduce_range=True,  # without VNNI, x86 would saturate where Arm does not
    )
    session = open_session(made, Runtime())
    here = np.concatenate([session.run(image[None]) for image in images])
    batches = tuple((0, image[None]) for image in images)
    job = Job(models=(made,), runtime=Runtime(), graphs=(0,), batches=batches)
    lines = list(connect(uri).run(job))
    there = np.concatenate(
        [
            np.frombuffer(base64.b64decode(line["data"]), "<f4").reshape(line["shape"])
            for line in lines
            if line["kind"] == "logits"
        ]
    )
    # A rounding that falls the other way moves a logit by a step of its scale.
    assert np.mean(here.argmax(1) == there.argmax(1)) >= 0.97
    assert np.abs(here - there).max() <= 0.02 * np.abs(here).max()
    graph = onnx.ModelProto.FromString(base64.b64decode(lines[1]["onnx"])).graph
    kernels = [node.op_type for node in graph.node if "Conv" in node.op_type]
    assert kernels == ["QLinearConv"] * 2


def test_int8_is_verified_on_the_cores_that_are_built(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent.parent))
    random = np.random.default_rng(1)
    images = [random.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(12)]
    profile = {"schema": 1, "name": "pi", "core": "cortex-a76", "precision": {"mode": "int8"}}
    target = TargetProfile.model_validate(profile)
    quantiser = Quantiser(
        images=images, precision=target.precision, scheme=Scheme(), runtime=target.runtime
    )
    made = recovered(onnx.ModelProto.FromString(convnet(16)), quantiser)
    said, warning = on_arm.verified(made, images, target)
    assert said.startswith("on 12 calibration images against fp32: ")
    for core in CORES:
        assert f" on {core} (emulated), 100.0% of them as here, 2 of 2 convolutions" in said
    assert warning.startswith("warning: x86 without VNNI saturates in w1 (")


@pytest.mark.skipif(shutil.which("qemu-x86_64-static") is None, reason="no qemu-x86_64-static")
@pytest.mark.parametrize("how", [CONVOLUTIONS[0], CONVOLUTIONS[2], CONVOLUTIONS[5]])
def test_what_saturates_answers_otherwise_without_vnni(how: dict[str, Any]) -> None:
    """A Haswell, emulated, differs from a processor with VNNI where it is said, and else not."""
    proto, images = network(**how)
    batches = tuple((0, image) for image in (*images, *(0.1 * image for image in images)))
    job = Job(models=(proto.SerializeToString(),), runtime=Runtime(), batches=batches)
    answers = []
    for uri in (f"exec:qemu-x86_64-static -cpu Haswell {sys.executable}", "local://"):
        machine, *lines = connect(uri).run(job)
        answers.append([line["data"] for line in lines])
    if "avx512_vnni" not in machine["machine"]["isa"]:
        pytest.skip("this machine has no VNNI to compare with")
    without, exact = answers
    assert saturating(proto, images)
    assert without[:2] != exact[:2]
    assert saturating(proto, [image for _, image in batches[2:]]) == ()
    assert without[2:] == exact[2:]


@pytest.mark.parametrize(
    "words", [("probe", "--model", "resnet20"), ("search",), ("doctor", "model.onnx")]
)
def test_nothing_is_timed(root: Path, sealed: Path, words: tuple[str, ...]) -> None:
    done = edgeprune(*words, "--device", uri_of("cortex-a53", root), cwd=sealed.parent)
    assert done.returncode == 3
    assert done.stdout.count("\n") == 0
    assert "is emulated" in done.stderr
    assert not list(sealed.parent.glob("calibration"))


def test_a_command_is_such_a_device_too(root: Path, sealed: Path, target: Path) -> None:
    uri = uri_of("cortex-a53", root)
    words = emulated(uri).command[:-3]  # without what starts the runner
    done = edgeprune("check", sealed, "--target", target, "--device", f"exec:{shlex.join(words)}")
    assert done.returncode == 0, done.stderr
    assert "met: parity" in done.stdout
    assert "inconclusive: latency unknown" in done.stdout


def test_a_core_that_is_killed(root: Path) -> None:
    uri = uri_of("cortex-a53", root)
    epochs = (Epoch(open=(0,), sequence=(0,)),) * 100_000
    job = Job(models=(convnet(8),), runtime=Runtime(), epochs=epochs, times=False)
    with closing(connect(uri).run(job)) as lines:
        assert [next(lines)["kind"], next(lines)["kind"]] == ["machine", "epoch"]
        (child,) = _children(os.getpid(), "qemu-aarch64")
        os.kill(child, signal.SIGKILL)
        with pytest.raises(MachineError, match="measuring broke off"):
            list(lines)
    deadline = time.monotonic() + 5
    while _processes(str(root)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _processes(str(root)) == []


def _processes(words: str) -> list[int]:
    """Running processes with these words in their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in path.read_text(errors="replace").replace("\0", " "):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _children(parent: int, words: str) -> list[int]:
    return [
        number
        for number in _processes(words)
        if f"PPid:\t{parent}\n" in Path(f"/proc/{number}/status").read_text()
    ]


@pytest.fixture
def board(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real sshd on the loopback whose Python is an emulated core's: a Pi without a Pi."""
    sshd = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if sshd is None:
        pytest.skip("OpenSSH's sshd is not installed: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    keys, remote = tmp_path / "home/.ssh", tmp_path / "remote"
    keys.mkdir(parents=True, mode=0o700)
    remote.mkdir()
    loopback.make_keys(keys)
    shutil.copy(keys / "id_ed25519.pub", keys / "authorized_keys")
    monkeypatch.setenv("HOME", str(keys.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    python = tmp_path / "python3"
    words = emulated(uri_of("cortex-a76", root)).command[:-3]
    python.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    python.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys / 'host_key'}\n"
        f"AuthorizedKeysFile {keys / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nSetEnv TMPDIR={remote}\n"
    )
    with subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        loopback.know(keys, port)
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}?python={python}"
        process.terminate()
    assert list(remote.iterdir()) == []


def test_a_board_behind_ssh_from_end_to_end(board: str, sealed: Path, target: Path) -> None:
    assert "emulated-cortex-a76" in edgeprune("devices", "check", board).stdout
    refused = edgeprune("probe", "--model", "resnet20", "--device", board, cwd=sealed.parent)
    assert refused.returncode == 3
    assert "is emulated (qemu-aarch64" in refused.stderr
    done = edgeprune("check", sealed, "--target", target, "--device", board)
    assert done.returncode == 0, done.stderr
    assert "met: parity" in done.stdout
    assert "inconclusive: p50_ms unknown" in done.stdout
