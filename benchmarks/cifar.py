"""Time, memory and result of a search on real images: ``python benchmarks/cifar.py SHARED``.

SHARED holds ``data/cifar10-jpeg.tar.xz`` (train/CLASS, test/CLASS) and ``data/checkpoints/``. Runs
``edgeprune search`` on resnet20-jpeg45k.pt, whose last 500 train images a class were held out,
with an empty cache; prints the summary, the time of each step, that of the search without the
latency table and the final fine-tuning (limit 12 minutes), and the peak memory (limit 4 GB).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from edgeprune.deploy.devices.fingerprint import check_device

COMMAND = [sys.executable, "-c", "from edgeprune.cli.main import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-latency-ratio", type=float, default=0.7)
    parser.add_argument("--out", type=Path, help="keep the run folder here")
    parser.add_argument("--more", nargs="*", default=[], help="further options of the search")
    asked = parser.parse_args()
    device = check_device("local://")
    print(
        f"{device.machine['cpu']}, {device.machine['cores']} cores, {datetime.now(UTC):%Y-%m-%d}"
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with tarfile.open(asked.shared / "data" / "cifar10-jpeg.tar.xz") as archive:
            archive.extractall(work / "images", filter="data")
        out = asked.out or work / "run"
        start = time.monotonic()
        done = subprocess.run(
            [
                *COMMAND,
                "search",
                "--target",
                "mobile-cpu",
                "--model",
                "resnet20",
                "--weights",
                str(asked.shared / "data" / "checkpoints" / "resnet20-jpeg45k.pt"),
                "--data",
                str(image_root(work / "images")),
                "--out",
                str(out),
                "--epochs",
                str(asked.epochs),
                "--max-latency-ratio",
                str(asked.max_latency_ratio),
                *asked.more,
            ],
            env=os.environ | {"XDG_CACHE_HOME": str(work / "cache")},
            cwd=work,
        )
        print(f"\nexit {done.returncode}, {time.monotonic() - start:.0f} s in all")
        steps(out)


def image_root(folder: Path) -> Path:
    return next(path.parent for path in folder.rglob("train") if path.is_dir())


def steps(out: Path) -> None:
    """Seconds between the events of the run."""
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    times = [datetime.fromisoformat(event["at"]) for event in events]
    for event, before, after in zip(events[1:], times, times[1:], strict=False):
        more = {
            k: event[k] for k in ("measured", "dense", "slim", "val_before_finetune") if k in event
        }
        print(f"{(after - before).total_seconds():6.0f} s  until {event['event']} {more or ''}")
    # Of each kind of event the last.
    at = dict(zip((event["event"] for event in events), times, strict=True))
    searched = (at["candidate"] - at["latency table"]).total_seconds()
    print(f"search without table and fine-tuning: {searched:.0f} s (limit 720)")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GB (limit 4)")


if __name__ == "__main__":
    main()
