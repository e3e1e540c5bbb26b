"""What the second of two targets has from the first: ``python benchmarks/targets.py``.

One ``edgeprune search`` on the embedded digits for two targets on this machine, with nothing
cached; then, with ``--alone``, the second target by itself, which pays for everything again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprune.deploy.devices.fingerprint import check_device

COMMAND = [sys.executable, "-c", "from edgeprune.cli.main import main; main()"]
TARGETS = "mobile-cpu", "x86-gateway"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alone", action="store_true", help="the second target by itself, too")
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="further options")
    alone, more = vars(parser.parse_args()).values()
    machine = check_device("local://").machine
    load = os.getloadavg()[0]
    print(f"{machine['cpu']}, {machine['cores']} cores, load {load:.1f}, {datetime.now(UTC):%F}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "both"
        search(out, TARGETS, more)
        for name in TARGETS:
            tell(name, out / name)
        for line in json.loads((out / "run.json").read_text())["targets"]:
            print(*line["shared"], sep="\n")
        if alone:
            search(Path(folder) / "alone", TARGETS[1:], more)
            tell(f"{TARGETS[1]} alone", Path(folder) / "alone")


def search(out: Path, targets: tuple[str, ...], more: list[str]) -> None:
    """One search with an empty cache."""
    words = [word for name in targets for word in ("--target", name)]
    with tempfile.TemporaryDirectory() as cache:
        subprocess.run(
            [*COMMAND, "search", *words, "--out", str(out), *more],
            env=os.environ | {"XDG_CACHE_HOME": cache},
            cwd=cache,  # no ./calibration: the tables are measured too
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def tell(name: str, folder: Path) -> None:
    """Result and time of one target."""
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    results = record["results"]
    latency, accuracy = results["latency"], results["accuracy"]
    print(
        f"{name}: {record['time']['used']:.0f} s, {record['verdict']}, latency "
        f"{latency['slim'] / latency['dense']:.3f}x, accuracy {accuracy['dense']:.2f} -> "
        f"{accuracy['slim']:.2f} %, evaluations {record['evaluations']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
