"""Jobs on Dask workers that are devices: local ones that carry the resource of a target."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from distributed import Client, LocalCluster

from edgeprune.deploy.devices import dask_client, dask_device
from edgeprune.deploy.devices.dask_device import DaskDevice, uri_of
from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.deploy.devices.job import Epoch, Job, Variant
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

Net = Callable[..., bytes]
BOARD = "raspberry-pi-5"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        resources={f"{dask_client.TARGET}{BOARD}": 1},
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as made:
        yield made


@pytest.fixture
def device(cluster: LocalCluster) -> DaskDevice:
    found = connect(uri_of(cluster.scheduler_address, BOARD))
    assert isinstance(found, DaskDevice)
    return found


def job(content: bytes, epochs: int = 1) -> Job:
    once = Epoch(open=(0,), sequence=(0,), rounds=2)
    return Job(models=(content,), runtime=Runtime(), epochs=(once,) * epochs)


def test_a_worker_gives_the_lines_of_any_device(
    device: DaskDevice, net: Net, files: tuple[object, object]
) -> None:
    asked = replace(job(net(8), 2), models=(Variant(net(8), {"arena": False}), files[0]))
    lines = list(device.run(replace(asked, graphs=(1,))))
    assert [line["kind"] for line in lines] == ["machine", "graph", "epoch", "epoch"]
    here = next(iter(connect().run(asked)))
    assert lines[0]["machine"]["cpu"] == here["machine"]["cpu"]
    assert check_device(device.uri).fingerprint == check_device("local://").fingerprint


def test_ratios_are_measured_there_as_anywhere(device: DaskDevice, net: Net) -> None:
    found = protocol.compare(net(64), net(8), Setting(device=device, max_seconds=20.0))
    assert found.ratio > 1.0
    assert len(found.epochs) == protocol.EPOCHS


def test_stopping_early_ends_the_process_there(
    device: DaskDevice, cluster: LocalCluster, net: Net
) -> None:
    with closing(device.run(job(net(8), 100_000))) as lines:
        assert next(lines)["kind"] == "machine"
        assert becomes(1, cluster)
    assert becomes(0, cluster)


def test_what_is_wrong_with_a_model_is_said_of_the_worker(device: DaskDevice) -> None:
    with pytest.raises(InputError, match="not an ONNX file"):
        list(device.run(job(b"text")))
    with pytest.raises(MachineError, match=r"^worker tcp://\S+: QNNExecutionProvider is not in"):
        list(device.run(Job(models=(), runtime=Runtime(providers=("QNNExecutionProvider",)))))


def test_two_jobs_at_once_are_measured_one_after_the_other(device: DaskDevice, net: Net) -> None:
    with closing(device.run(job(net(8), 100_000))) as lines:
        next(lines)
        second = device.run(replace(job(net(8)), timeout=0.5))
        with pytest.raises(MachineError, match="is busy for others since 0 s; try again"):
            next(second)
    assert list(device.run(job(net(8))))


def test_a_worker_that_dies_while_it_times_is_named_and_its_successor_measures(
    device: DaskDevice, cluster: LocalCluster, net: Net
) -> None:
    lines = device.run(job(net(8), 100_000))
    assert next(lines)["kind"] == "machine"
    os.kill(next(iter(cluster.workers.values())).process.process.pid, signal.SIGKILL)
    said = rf"^{device.uri}: worker tcp://\S+ was lost while measuring .*; try again$"
    with pytest.raises(MachineError, match=said):
        list(lines)
    assert [line["kind"] for line in device.run(job(net(8)))] == ["machine", "epoch"]


def test_a_worker_that_nobody_started_is_asked_for(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_client, "ANSWER", 0.5)
    uri = uri_of(cluster.scheduler_address, "jetson-nano")
    with pytest.raises(MachineError) as raised:
        list(connect(uri).run(Job(models=(), runtime=Runtime())))
    assert str(raised.value) == (
        f"{uri}: no worker carries target-jetson-nano; start one on the device: dask worker "
        f"{cluster.scheduler_address} --nthreads 1 --resources target-jetson-nano=1"
    )
    assert raised.value.exit_code == 3
    with pytest.raises(MachineError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        list(connect(uri_of("tcp://127.0.0.1:9", "a")).run(Job(models=(), runtime=Runtime())))


def test_a_worker_of_another_version_is_named(
    device: DaskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Client.get_versions

    def other(client: Client, packages: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = seen(client, packages=packages)
        return {**found, "client": {"packages": {**found["client"]["packages"], "edgeprune": "9"}}}

    monkeypatch.setattr(Client, "get_versions", other)
    with pytest.raises(MachineError, match=r"^tcp://\S+ has edgeprune \S+, this machine 9; "):
        list(device.run(Job(models=(), runtime=Runtime())))


@pytest.mark.parametrize("uri", ["dask://host/pi", "dask://host:8786", "dask://host:8786/a/b"])
def test_an_address_lacks_nothing(uri: str) -> None:
    with pytest.raises(InputError, match=r"is not dask://HOST:PORT/TARGET"):
        connect(uri)


def test_the_scheme_says_whether_it_is_encrypted() -> None:
    assert uri_of("tls://host:8786", "pi") == "dask+tls://host:8786/pi"
    assert DaskDevice("dask+tls://host:8786/pi").scheduler == "tls://host:8786"


def test_a_device_needs_no_torch() -> None:
    code = f"import {dask_device.__name__}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def becomes(count: int, cluster: LocalCluster) -> bool:
    """Whether so many processes measure there within some seconds."""
    deadline = time.monotonic() + 10
    while len(runners(cluster)) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(runners(cluster)) == count


def runners(cluster: LocalCluster) -> list[str]:
    """Processes that measure below the cluster's worker."""
    pid = next(iter(cluster.workers.values())).process.process.pid
    found = subprocess.run(
        ["ps", "-ww", "--ppid", str(pid), "-o", "args="], capture_output=True, text=True
    )
    return [line for line in found.stdout.splitlines() if "runner.py" in line]
