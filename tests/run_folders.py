"""Run folders as a search leaves them, written by hand: no torch, nothing measured."""

import csv
import json
import random

REQUEST = {
    "target": {
        "name": "mobile-cpu",
        "description": "one core",
        "proxy_for": "a phone",
        "budget": {"relative": {"latency": 0.5, "accuracy_drop": 1.0, "macs": None}},
    },
    "model": {"name": "resnet20", "num_classes": 10, "kwargs": {}},
    "budget": {"latency": 0.5, "accuracy_drop": 1.0, "macs": None, "params": None},
    "weights": None,
    "source": "digits",
    "size": 32,
    "strategy": "joint",
    "effort": {"evaluations": 24, "finalists": 3},
    "recovery": {"epochs": 2, "lr": 0.05},
    "search": {"seed": 7},
    "family": [],
    "latency_ms": None,
    "device": "local://",
}
RESULTS = {
    "accuracy": {"dense": 97.0, "slim": 96.5, "unit": "%"},
    "MACs": {"dense": 4000, "slim": 1000, "unit": ""},
    "params": {"dense": 200, "slim": 50, "unit": ""},
    "file size": {"dense": 900, "slim": 300, "unit": "bytes"},
    "latency": {"dense": 0.8, "slim": 0.36, "unit": "ms"},
}
FRONT = ["predicted_latency_ratio", "predicted_macs_ratio", "predicted_params_ratio"]
FRONT += ["predicted_loss", "predicted_accuracy", "refit_loss", "refit_accuracy", "F2_loss"]
FRONT += ["F2_accuracy", "measured_latency_ratio", "strategy", "chosen", "why", "widths"]


def epochs(count=4, seed=0):
    """Sessions of 4 rounds of 2 runs: the candidate takes about 0.45 of the reference's time."""
    draw = random.Random(seed)
    line = {"cpu_ns": 9, "wall_ns": 9, "ticks": 1, "steal_ticks": 0, "throttled_us": 0, "load": 1}
    return [
        {
            "candidate": [[360_000 + draw.randrange(9000) for _ in range(2)] for _ in range(4)],
            "reference": [[800_000 + draw.randrange(9000) for _ in range(2)] for _ in range(4)],
            "machine": line,
        }
        for _ in range(count)
    ]


def verdict(name, outcome="met", **changed):
    plain = {
        "name": name, "outcome": outcome, "limit": 0, "value": 0, "unit": "", "interval": None,
        "evidence": f"evidence of {name}", "rule": "value", "raw": {"value": 0},
    }  # fmt: skip
    return plain | changed


def check(**changed):
    latency = verdict(
        "latency", limit=0.5, value=0.45, unit="x", interval=[0.44, 0.46], rule="ratio",
        raw={"attempts": [{"clock": "cpu", "epochs": epochs()}]},
    )  # fmt: skip
    drop = verdict(
        "accuracy_drop", "inconclusive", limit=1.0, value=0.5, unit=" points",
        interval=[-0.5, 1.5], rule="paired",
    )  # fmt: skip
    return {
        "schema": "edgeprune.check/1",
        "model": {"file": "model.onnx", "sha256": "ab" * 32, "bytes": 300},
        "reference": {"file": "dense.onnx", "sha256": "cd" * 32, "bytes": 900},
        "target": {"name": "mobile-cpu", "sha256": "ef" * 32, "proxy_for": "a phone"},
        "verdicts": [verdict("seal"), latency, drop],
        "on_inconclusive": "warn",
        "notes": ["mobile-cpu stands in for a phone"],
        "machine": {"cpu": "A CPU", "cores": 2, "isa": ["avx2"], "fingerprint": "a-cpu-2c",
                    "device": "local://", "system": "Linux", "arch": "x86_64"},
        "health": {"preempted": 0.0, "steal": 0.0, "modes": 1.0, "throttled_ms": 0.0,
                   "load": 1.0, "doubts": []},
        "latency": {},
        "date": "2026-11-27T10:00:00+00:00",
        "seconds": 0.7,
        "versions": {"edgeprune": "0.1.0", "onnxruntime": "1.32.0"},
    } | changed  # fmt: skip


def layers(**changed):
    return {
        "schema": "edgeprune.layers/1",
        "groups": [
            {"name": "conv1", "dense": 16, "slim": 8, "grid": [8, 16], "damage": [0.01, 0.0]},
            {"name": "layer1", "dense": 32, "slim": 0, "grid": [0, 16, 32],
             "damage": [0.5, 0.02, 0.0]},
        ],
        "blocks": [
            {"name": "stem", "dense_ms": 0.3, "slim_ms": 0.2},
            {"name": "beyond the blocks", "dense_ms": 0.01, "slim_ms": 0.01},
        ],
        "latency_error": 0.008,
    } | changed  # fmt: skip


def record(**changed):
    return {
        "schema": "edgeprune.run/1",
        "status": "done",
        "version": "0.1.0",
        "request": REQUEST,
        "chosen": {"widths": [8, 0], "predicted": [0.44, 0.25, 0.25],
                   "measured": [0.43, 0.45, 0.47], "scores": {"loss": 0.4}},
        "validation": {"val_dense": 0.98, "val_slim": 0.97},
        "verdict": "inconclusive",
        "results": RESULTS,
        "notes": [],
    } | changed  # fmt: skip


def front_rows():
    empty = dict.fromkeys(FRONT, "")
    rows = [
        {"predicted_latency_ratio": "0.4400", "predicted_loss": "0.4000",
         "predicted_accuracy": "0.7000", "F2_loss": "0.0400", "F2_accuracy": "0.9600",
         "measured_latency_ratio": "0.4500", "chosen": "yes", "why": "best", "widths": "8 0"},
        {"predicted_latency_ratio": "0.4900", "predicted_loss": "0.3000",
         "predicted_accuracy": "0.7500", "F2_loss": "0.0300", "F2_accuracy": "0.9700",
         "measured_latency_ratio": "0.5200", "why": "over 0.5x", "widths": "16 16"},
        {"predicted_latency_ratio": "0.4200", "predicted_loss": "0.5000",
         "predicted_accuracy": "0.6500", "F2_loss": "0.0900", "F2_accuracy": "0.9400",
         "why": "another had less F2 loss", "widths": "8 16"},
    ]  # fmt: skip
    return [empty | row for row in rows]


TRIED = """score,steps,loss,accuracy,predicted_latency_ratio,rule,seconds,widths
F1,0,0.5000,0.6500,0.4200,,1.0,8 16
F1,0,0.9000,0.4000,0.3000,uniform,2.0,8 0
F1,0,0.2000,0.8000,0.8000,,3.0,16 32
refit,0,0.1000,0.9300,0.3000,uniform,4.0,8 0
F2,20,0.0900,0.9400,0.4200,,5.0,8 16
F2,20,0.0400,0.9600,0.4400,,6.0,8 0
"""


def write(folder, **files):
    """A run folder; a file given as None is left out, as text is written as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    event = '{"at": "2026-11-27T09:58:00Z", "event": "started"}\n{"cut off'
    content = {
        "run": record(), "check": check(), "layers": layers(), "front": front_rows(),
        "tried": TRIED, "events": event,
    } | files  # fmt: skip
    names = {"front": "front.csv", "tried": "tried.csv", "events": "events.jsonl"}
    for key, each in content.items():
        path = folder / names.get(key, f"{key}.json")
        if key == "front" and isinstance(each, list):
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, FRONT)
                table.writeheader()
                table.writerows(each)
        elif isinstance(each, str):
            path.write_text(each)
        elif isinstance(each, bytes):
            path.write_bytes(each)
        elif each is not None:
            path.write_text(json.dumps(each))
    return folder


def several(folder, *names):
    """A run folder for several targets, with a run of each; the last has of the others."""
    requests = {name: REQUEST | {"target": {**REQUEST["target"], "name": name}} for name in names}
    for name, request in requests.items():
        write(folder / name, run=record(request=request))
    lines = [{"target": name, "folder": name, "shared": []} for name in names]
    lines[-1]["shared"] = ["of 9 F1 scores 5"]
    whole = {"schema": "edgeprune.run/1", "status": "done", "requests": requests, "targets": lines}
    (folder / "run.json").write_text(json.dumps(whole))
    return folder
