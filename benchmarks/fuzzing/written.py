"""What edgeprune itself writes, to be damaged: a run folder of a short search on the digits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.deploy.devices.job import Epoch, Job
from edgeprune.target import Runtime

COMMAND = [sys.executable, "-m", "edgeprune"]
# What the device below is asked.
JOB = Job(
    models=(b"", b""),
    runtime=Runtime(),
    graphs=(0,),
    memory=(0,),
    batches=((0, np.zeros((1, 3, 8, 8), np.float32)),),
    epochs=(Epoch(open=(0, 1), sequence=(0, 1)),),
)
SEARCH = ["search", "--strategy", "uniform", "--epochs", "1", "--max-latency-ratio", "0.8"]


def short_search(out: Path) -> Path:
    """A finished run folder, made in about a minute."""
    done = subprocess.run([*COMMAND, *SEARCH, "--out", str(out)], capture_output=True, text=True)
    if not (out / "model.onnx").is_file():
        raise SystemExit(f"the search that makes the inputs failed: {done.stderr[-500:]}")
    return out


def answer() -> list[dict[str, Any]]:
    """What a device answers to a job of one epoch of two models."""
    facts = {
        "arch": "aarch64",
        "system": "Linux",
        "cpu": "Raspberry Pi 5",
        "cores": 4,
        "allowed_cores": 4,
        "isa": ["asimd"],
        "memory_bytes": 8 << 30,
        "governor": "ondemand",
        "cgroup_quota": None,
        "python": "3.11.2",
        "onnxruntime": "1.32.0",
        "providers": ["CPUExecutionProvider"],
        "emulated": None,
    }
    epoch = {
        "kind": "epoch",
        "epoch": 0,
        "opened_ns": [1_000_000, 900_000],
        "finite": [True, True],
        "samples": [[[100_000, 100_100], [200_000, 200_300]]] * 2,
        "load": 0.5,
        "cpu_ns": 1_200_000,
        "wall_ns": 1_300_000,
        "ticks": 10,
        "steal_ticks": 0,
        "throttled_us": 0,
    }
    return [
        {"kind": "machine", "machine": facts},
        {"kind": "graph", "model": 0, "onnx": "CAo="},
        {"kind": "memory", "model": 0, "load_ns": 5, "peak_bytes": 10},
        {"kind": "logits", "model": 0, "shape": [1, 2], "data": "AACAPwAAAEA="},
        epoch,
        {"kind": "error", "code": "model", "message": "0.onnx: Unsupported model IR version: 14"},
        {"kind": "end"},
    ]
