"""edgeprune against Torch-Pruning at equal measured latency, with equal recovery.

    python benchmarks/peers.py SHARED --bar      before fine-tuning, public checkpoints
    python benchmarks/peers.py SHARED --short    resnet20, 400 steps, 3 seeds; some hours of CPU
    python benchmarks/peers.py SHARED --papers   the two papers' own settings
    python benchmarks/peers.py SHARED            everything, for a CUDA device
    python benchmarks/peers.py SHARED --table results.jsonl

SHARED holds ``data/cifar10-jpeg.tar.xz`` and ``data/checkpoints/``. Each result is appended to
``--out`` as it comes; a second start goes on where the first one stopped. benchmarks.md
explains the table. The status is 1 when a bar is missed.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import torch
from contest import report, schedule
from contest.ledger import Ledger, read
from contest.network import dense_network, unpacked
from contest.running import run
from contest.schedule import Contest

from edgeprune.deploy.devices.fingerprint import check_device


def main() -> int:
    asked = _arguments()
    contests = _contests(asked)
    if asked.table is None:
        _run(contests, asked)
    rows = read(asked.table or asked.out)
    print(report.text(rows, contests))
    return 1 if report.missed(rows, contests) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    which = parser.add_mutually_exclusive_group()
    for name in ("bar", "short", "papers"):
        which.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"), help="JSON lines")
    parser.add_argument("--table", type=Path, help="only print the table of this file")
    parser.add_argument("--work", type=Path, help="where images are unpacked, to keep them")
    parser.add_argument("--only", choices=("peers", "own"), help="one half of the arms")
    parser.add_argument("--arms", default="", help="only arms whose name has this pattern")
    parser.add_argument("--model", help="only the contests of this network")
    parser.add_argument(
        "--searches", type=int, default=1, help="seeds of the search of joint and random"
    )
    parser.add_argument("--threads", type=int, help="torch threads for accuracy and training")
    return parser.parse_args()


def _contests(asked: argparse.Namespace) -> tuple[Contest, ...]:
    if asked.bar:
        chosen = schedule.BAR
    elif asked.papers:
        chosen = schedule.PAPERS
    else:
        chosen = schedule.short() if asked.short else schedule.full()
    wanted = [each for each in chosen if asked.model in {None, each.model}]
    return tuple(schedule.repeated(each, asked.searches) for each in wanted)


def _run(contests: tuple[Contest, ...], asked: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("contest").setLevel(logging.INFO)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    ledger = Ledger(asked.out, check_device("local://").machine["cpu"])
    with tempfile.TemporaryDirectory() as folder:
        images = unpacked(asked.shared, asked.work or Path(folder))
        for contest in contests:
            if contest.needs_cuda and not torch.cuda.is_available():
                continue  # the table says so
            weights = (
                asked.shared / "data" / "checkpoints" / contest.weights
                if contest.weights
                else None
            )
            run(
                contest,
                dense_network(contest.model, weights, images),
                ledger,
                only=asked.only,
                arms=asked.arms,
            )


if __name__ == "__main__":
    sys.exit(main())
