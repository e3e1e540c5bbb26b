"""Searches of real shapes: ``python benchmarks/shapes.py --work DIR``, an hour on two busy cores.

Networks of other operators than CIFAR's, at 96 pixels, are searched with 40 evaluations each, as
``edgeprune search`` does it. Looked at is speed alone, so the dense networks are trained on the
digits for a few epochs and the slim ones not at all. A row: how the latency was predicted and how
far off on networks held out (bar: 4 % on average), and the measured ratio beside the limit. What
was found is kept in DIR, and a search that was interrupted goes on. The status is 1 where a bar is
missed.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprune.deploy.devices.fingerprint import check_device

NETWORKS = (
    "timm/mobilenetv3_small_100",
    "timm/convnext_atto",
    "torchvision/mobilenet_v2",
    "timm/tf_efficientnet_lite0",
    "torchvision/resnet18",
)
LIMIT = 0.7
MOST_ERROR = 0.04
COMMAND = [sys.executable, "-c", "from edgeprune.cli.main import main; main()", "search"]
OPTIONS = [
    *("--target", "mobile-cpu", "--data", "digits", "--image-size", "96"),
    *("--max-latency-ratio", str(LIMIT), "--max-accuracy-drop", "none"),
    *("--baseline-epochs", "4", "--epochs", "0", "--evaluations", "40", "--finalists", "1"),
]


def searched(network: str, work: Path) -> dict[str, Any]:
    """What a search found, run or gone on with where it is not there yet."""
    out = work / network.replace("/", "-")
    record = out / "run.json"
    status = json.loads(record.read_text("utf-8"))["status"] if record.exists() else ""
    if status != "done":
        words = [*COMMAND, "--model", network, *OPTIONS, "--out", str(out)]
        with (work / f"{out.name}.log").open("a", encoding="utf-8") as log:
            environment = os.environ | {"XDG_CACHE_HOME": str(work / "cache")}
            again = ["--resume"] if status else []
            done = subprocess.run([*words, *again], stdout=log, stderr=log, env=environment)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{network}: exit {done.returncode}; {out.name}.log says why")
    events = [json.loads(line) for line in (out / "events.jsonl").read_text("utf-8").splitlines()]
    table = next(event for event in reversed(events) if event["event"] == "latency table")
    check = json.loads((out / "check.json").read_text("utf-8"))
    latency = next(verdict for verdict in check["verdicts"] if verdict["name"] == "latency")
    return {"table": table, "latency": latency}


def row(network: str, found: dict[str, Any]) -> tuple[str, bool]:
    """A row of the table, and whether both bars are kept."""
    table, latency = found["table"], found["latency"]
    low, high = latency["interval"]
    kept = table["error"] <= MOST_ERROR and latency["value"] <= LIMIT
    cells = [
        network,
        f"{table['predicted_from']}",
        f"{table['error']:.1%}",
        f"{latency['value']:.3f}x [{low:.3f}, {high:.3f}], {latency['outcome']}",
    ]
    return f"| {' | '.join(cells)} |", kept


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the searches")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    machine = check_device("local://").machine
    load = os.getloadavg()[2]
    print(f"{machine['cpu']}, {machine['cores']} cores, load {load:.1f}, {datetime.now(UTC):%F}\n")
    print("| network | predicted from | off on held-out networks | measured, limit 0.7x |")
    print("|---|---|---|---|")
    right = True
    for network in options.networks:
        line, kept = row(network, searched(network, options.work))
        print(line, flush=True)
        right &= kept
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
