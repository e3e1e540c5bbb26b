"""Where the time of one F1 score goes, and what racing could save of it at most.

    python benchmarks/f1.py SHARED [--model resnet20] [--networks 16] [--first 128]

SHARED holds ``data/cifar10-jpeg.tar.xz`` and ``data/checkpoints/``. Racing would judge a network
on ``--first`` images and go on to all of them only where it may still reach the front. What comes
before, slimming, folding and recalibrating, is the same for every network that is judged at all.
Medians over random networks on multiples of 8; the last line is the gain of a race that drops
every network after the first images, which no race does.
"""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from contest.network import WEIGHTS, DenseNetwork, public_network
from criteria import widths

from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.prune.models.placement import best_device, narrow, working_copy
from edgeprune.prune.saliency.curvature import measure
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.evaluator import Evaluator
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.batchnorm import estimate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", choices=sorted(WEIGHTS), default="resnet20")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--first", type=int, default=128, help="images that a race begins with")
    parser.add_argument("--work", type=Path, help="where images are unpacked and kept")
    given = parser.parse_args()
    machine = check_device("local://").machine
    print(f"{machine['cpu']}, {machine['cores']} cores, load {os.getloadavg()[0]:.1f}")
    with public_network(given.model, given.shared, given.work) as dense:
        found = medians(dense, given.networks, given.first)
    for name, seconds in found.items():
        print(f"{seconds:7.3f} s  {name}")
    whole = sum(found.values()) - found["judged, the first images"]
    gain = found["judged, all images"] - found["judged, the first images"]
    print(
        f"{whole:7.3f} s  one score; a race saves at most {gain:.3f} s of it, {gain / whole:.0%}"
    )


def medians(dense: DenseNetwork, count: int, first: int) -> dict[str, float]:
    """Seconds of each step."""
    folding = Folding(dense.trace, measure(dense.trace, dense.images.train))
    effort, device = Effort(), best_device()
    scorer, quick = (
        Evaluator(dense.trace, dense.images, each, folding=folding)
        for each in (effort, replace(effort, judged=first))
    )
    calibration = [pixels for pixels, _ in scorer._calibration]
    times: dict[str, list[float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        times.setdefault(name, []).append(time.perf_counter() - began)

    for number, vector in enumerate(list(widths(dense, count))[1:]):
        kept = {
            group.name: tuple(range(width))
            for group, width in zip(dense.trace.groups, vector, strict=True)
        }
        plan = PruningPlan(model=dense.name, kept=kept)
        with timed("slimmed and folded"):
            network = folding.slim(plan)
        network = working_copy(network, device).eval()
        with timed("recalibrated"), narrow(device):
            estimate(network, calibration)
        for name, judge in (("the first images", quick), ("all images", scorer)):
            with timed(f"judged, {name}"):
                judge._judge(network, judge._judged, judge._expected)
        if not number:
            times.clear()  # the uniform one warms up
    return {name: float(np.median(taken)) for name, taken in times.items()}


if __name__ == "__main__":
    main()
