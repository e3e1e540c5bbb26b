"""Time, memory and result of the embedded default: ``python benchmarks/embedded.py --seeds 3``.

Each seed is a whole ``edgeprune search --target mobile-cpu`` in a fresh process with an empty
cache: baseline trained, table measured, searched, fine-tuned, exported, judged. The limits: 5
minutes, 3 GB, at most 0.5x of the dense latency and 1 point of accuracy (mean of the seeds). Then
the start-up of ``edgeprune --help`` (0.5 s) and ``edgeprune check`` on the result (5 s).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprune.deploy.devices.fingerprint import check_device

COMMAND = [sys.executable, "-c", "from edgeprune.cli.main import main; main()"]
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep the run folders here")
    parser.add_argument("--more", nargs="*", default=[], help="further options of the search")
    seeds, keep, more = vars(parser.parse_args()).values()
    device = check_device("local://")
    print(
        f"{device.machine['cpu']}, {device.machine['cores']} cores, {datetime.now(UTC):%Y-%m-%d}"
    )
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            search(seed, (keep or Path(folder)) / f"seed{seed}", more) for seed in range(seeds)
        ]
        report(runs)
        startup(runs[-1]["out"])


def search(seed: int, out: Path, more: list[str]) -> dict[str, Any]:
    """One run of the main job, with nothing cached."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        start = time.monotonic()
        words = ["search", "--target", "mobile-cpu", "--seed", str(seed), "--out", str(out)]
        done = subprocess.run(
            [*COMMAND, *words, *more],
            env=os.environ | {"XDG_CACHE_HOME": cache},
            cwd=cache,  # no ./calibration: the table is measured too
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        seconds = time.monotonic() - start
    record = json.loads((out / "run.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    check = json.loads((out / "check.json").read_text())
    ratio = next(v for v in check["verdicts"] if v["name"] == "latency")
    print(
        f"seed {seed}: {seconds:.0f} s, exit {done.returncode}, "
        f"latency {ratio['value']:.3f}x [{ratio['interval'][0]:.3f}, {ratio['interval'][1]:.3f}], "
        + ", ".join(f"{k} {v['dense']:g} -> {v['slim']:g}" for k, v in record["results"].items()),
        flush=True,
    )
    return {
        "out": out, "seconds": seconds, "peak": peak, "ratio": ratio["value"],
        "accuracy": record["results"]["accuracy"], "exit": done.returncode,
    }  # fmt: skip


def report(runs: list[dict[str, Any]]) -> None:
    drops = [run["accuracy"]["dense"] - run["accuracy"]["slim"] for run in runs]
    print(f"slowest {max(run['seconds'] for run in runs):.0f} s (limit 300)")
    print(f"peak memory {runs[-1]['peak']:.2f} GB (limit 3)")
    print(f"largest latency ratio {max(run['ratio'] for run in runs):.3f}x (limit 0.5)")
    spread = f" +- {statistics.stdev(drops):.2f}" if len(drops) > 1 else ""
    print(
        f"accuracy lost {statistics.mean(drops):.2f}{spread} points (limit 1), {len(runs)} seeds"
    )


def startup(run: Path) -> None:
    commands = {
        "edgeprune --help": ["--help"],
        "edgeprune check": ["check", str(run / "model.onnx")],
    }
    for name, words in commands.items():
        seconds = []
        for _ in range(REPEATS):
            start = time.monotonic()
            subprocess.run([*COMMAND, *words], stdout=subprocess.DEVNULL, check=False)
            seconds.append(time.monotonic() - start)
        print(f"{name}: median {statistics.median(seconds):.2f} s of {REPEATS}")


if __name__ == "__main__":
    main()
