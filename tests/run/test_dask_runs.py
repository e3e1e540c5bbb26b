"""Whole runs on Dask workers: the files of a run of one process, whoever dies; bad input."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distributed import Client, Nanny, Scheduler, SpecCluster

from edgeprune.deploy.devices import dask_client, dask_device
from edgeprune.errors import MachineError
from edgeprune.prune.models import placement
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run import dask_workers, setup
from edgeprune.run.dask_workers import Workers
from edgeprune.run.pipeline import run_search
from edgeprune.run.portable import portable
from edgeprune.run.request import Request
from edgeprune.target import RelativeBudget, TargetProfile

EFFORT = Effort(evaluations=8, calibration=32, judged=64, refitted=2, finalists=2, rungs=((4, 1),))
BOARD = "small-board"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As on the workers: sums over more threads are rounded otherwise."""
    with placement.one_thread():
        yield


@pytest.fixture(scope="module")
def request_(here):
    profile = {"schema": 1, "name": BOARD, "channels": {"grid": [8, 16]}}
    return Request(
        target=TargetProfile.model_validate(profile | {"measure": {"max_seconds": 2}}),
        model=ModelSpec("mynets:net"),
        budget=RelativeBudget(macs=0.7),  # counted, so that no measurement decides
        source="data",
        size=(16, 16),
        out=Path("alone"),
        baseline=Recipe(epochs=4, batch=32, lr=0.1),
        recovery=Recipe(epochs=2, batch=32, ema=0.9),
        search=Settings(population=6, generations=2),
        effort=EFFORT,
        carried=True,
    )


@pytest.fixture(scope="module")
def alone(request_):
    return run_search(request_).folder


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)["state_dict"]


def front(folder):
    with (folder / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: cell for name, cell in row.items() if "measured" not in name} for row in rows]


def same(one, other):
    assert front(one) == front(other)
    assert (one / "plan.json").read_text() == (other / "plan.json").read_text()
    ours, theirs = weights(one), weights(other)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_on_workers_comes_to_the_files_of_one_process(request_, alone):
    told = []
    request = replace(request_, out=Path("two"), workers=2)
    found = run_search(request, lambda *step: told.append(step[:3]))
    same(found.folder, alone)
    assert ("fine-tuning", 0, 16) in told
    assert ("fine-tuning", 8, 16) in told
    by_worker = [step for step, *_ in told if step.startswith("scores by worker: tcp://")]
    assert len(by_worker) == 1


@pytest.fixture(scope="module")
def mixed():
    """One worker that computes, and one that is a device."""
    nanny = {"cls": Nanny, "options": {"nthreads": 1, "silence_logs": 50}}
    board = {"resources": {f"{dask_client.TARGET}{BOARD}": 1}}
    with SpecCluster(
        workers={"computes": nanny, "board": nanny | {"options": nanny["options"] | board}},
        scheduler={"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0", "port": 0}},
        silence_logs=50,
    ) as cluster:
        yield cluster


def test_a_worker_that_is_the_target_measures_and_computes_nothing(request_, alone, mixed):
    told = []
    request = replace(request_, out=Path("mixed"), scheduler=mixed.scheduler_address)
    folder = run_search(request, lambda *step: told.append(step[:3])).folder
    same(folder, alone)
    uri = dask_device.uri_of(mixed.scheduler_address, BOARD)
    assert f"{BOARD} is measured by a worker: {uri}" in [step for step, *_ in told]
    assert json.loads((folder / "run.json").read_text())["stand_in"]["kind"] == "device"
    assert json.loads((folder / "check.json").read_text())["machine"]["device"] == uri
    computed = json.loads((folder / "events.jsonl").read_text().splitlines()[-2])
    assert computed["event"] == "scores by worker"
    board = mixed.workers["board"].worker_address
    assert board not in computed
    assert mixed.workers["computes"].worker_address in computed


def test_workers_that_are_all_devices_compute_nothing(request_, mixed, monkeypatch):
    monkeypatch.setattr(dask_client, "PATIENCE", 0.5)
    with dask_client.connected(mixed.scheduler_address) as client:
        workers = Workers(client)
        board = {f"{dask_client.TARGET}{BOARD}": 1}
        monkeypatch.setattr(dask_client, "resources", lambda client: {"tcp://board:1": board})
        with pytest.raises(MachineError, match="no Dask worker is left that computes; "):
            workers.place()
        monkeypatch.setattr(
            dask_client,
            "resources",
            lambda client: {"tcp://a:1": {}, "tcp://b:1": {"GPU": 1}, "tcp://c:1": board},
        )
        assert workers.place() == {"resources": {"GPU": 1}}
        assert workers.computing() == ["tcp://b:1"]


def failed_and_gone_on(request, alone, said):
    """The run ends in one line with exit 3, its folder goes on, and comes to the usual files."""
    with pytest.raises(MachineError, match=said) as raised:
        run_search(request)
    assert raised.value.exit_code == 3
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) <= 400
    record = json.loads((request.out / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["reason"] == str(raised.value)
    again = replace(request, resume=True, workers=0, scheduler="", device="local://")
    same(run_search(again).folder, alone)


def test_without_its_scheduler_a_run_goes_on_later(request_, alone, monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER", 1.0)
    request = replace(request_, out=Path("absent"), scheduler="tcp://127.0.0.1:9")
    failed_and_gone_on(request, alone, r"^no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*--w")


def test_with_workers_of_another_version_a_run_goes_on_later(request_, alone, mixed, monkeypatch):
    seen = Client.get_versions

    def other(client, packages):
        found = seen(client, packages=packages)
        for known in found["workers"].values():
            known["packages"] = known["packages"] | {"edgeprune": "0.1"}
        return found

    monkeypatch.setattr(Client, "get_versions", other)
    request = replace(request_, out=Path("older"), scheduler=mixed.scheduler_address)
    failed_and_gone_on(request, alone, r"^tcp://\S+ has edgeprune 0\.1, this machine .*; install")


def test_a_worker_without_the_images_names_them(request_, alone, mixed, monkeypatch):
    def absent(*given):
        return replace(portable(*given), images=None, source="/no/such/images")

    monkeypatch.setattr(setup, "portable", absent)
    request = replace(request_, out=Path("no-images"), scheduler=mixed.scheduler_address)
    failed_and_gone_on(request, alone, r"^worker tcp://\S+: no /no/such/images there: ")


def test_a_worker_without_memory_is_named(request_, alone, mixed, monkeypatch):
    monkeypatch.setattr(dask_workers, "answer", hungry)
    request = replace(request_, out=Path("no-memory"), scheduler=mixed.scheduler_address)
    failed_and_gone_on(request, alone, "^a worker ran out of memory; start fewer, and go on with")


def hungry(task, name):
    """What a worker does in place of its task."""
    raise MemoryError


def test_a_device_that_dies_while_it_times_ends_the_run_and_its_successor_goes_on(
    request_, alone, mixed
):
    """Killed as soon as it has begun to measure the table."""
    request = replace(request_, out=Path("dies"), scheduler=mixed.scheduler_address)
    lines = dask_device.DaskDevice.run

    def deadly(device, job):
        for line in lines(device, job):
            yield line
            if job.epochs:
                os.kill(mixed.workers["board"].process.process.pid, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_device.DaskDevice, "run", deadly)
        with pytest.raises(MachineError, match=r"worker \S+ was lost while measuring") as raised:
            run_search(request)
    assert raised.value.exit_code == 3
    assert json.loads((request.out / "run.json").read_text())["status"] == "failed"
    same(run_search(replace(request, resume=True)).folder, alone)


def test_a_device_that_nobody_started_is_asked_for(request_, mixed, monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER", 1.0)
    uri = dask_device.uri_of(mixed.scheduler_address, "jetson")
    request = replace(request_, out=Path("jetson"), device=uri, carried=False)
    with pytest.raises(MachineError, match="no worker carries target-jetson; start one on the"):
        run_search(request)
    assert json.loads((request.out / "run.json").read_text())["status"] == "failed"
