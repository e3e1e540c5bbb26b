"""Whole runs on Dask workers: the files of a run of one process, whoever dies; bad input."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distributed import Nanny, Scheduler, SpecCluster

from edgeprune.deploy.devices import dask_client, dask_device
from edgeprune.errors import MachineError
from edgeprune.prune.models import placement
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.evaluator import Effort
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run.dask_workers import Workers
from edgeprune.run.pipeline import run_search
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
