"""Time and memory of tracing, slimming and costing.

    python benchmarks/slimming.py

Limits: ResNet-50 traced and slimmed in 3 s on 2 cores, at most twice the model's memory; 10,000
width vectors of ResNet-56 costed in 50 ms. "Twice" can be read in two ways, on top of the loaded
model or in all, the loaded model counted in: both are printed and both are held to the bar. The
status is 1 when a bar is missed.
"""

import datetime
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.space.widths import build as build_space
from edgeprune.prune.tracing.trace import Trace, trace

REPEATS = 5


def half(traced: Trace) -> PruningPlan:
    return PruningPlan(
        model="half", kept={g.name: tuple(range(0, g.width, 2)) for g in traced.groups}
    )


def milliseconds(action: Callable[[], object]) -> float:
    samples = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        samples.append(1e3 * (time.perf_counter() - start))
    return statistics.median(samples)


def peak_mebibytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def slim_once(name: str, side: int) -> tuple[float, float, float, float]:
    """Seconds to trace and to slim, MiB of the weights, MiB on top of a loaded model."""
    torch.set_num_threads(1)
    with torch.no_grad():
        # What torch needs for its first forward pass is no memory of ours.
        warm = build(ModelSpec("resnet20")).eval()
        slim(trace(warm, torch.zeros(1, 3, 32, 32)), half(trace(warm, torch.zeros(1, 3, 32, 32))))
    model = build(ModelSpec(name, num_classes=1000)).eval()
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values()) / 2**20
    before = peak_mebibytes()
    start = time.perf_counter()
    traced = trace(model, torch.zeros(1, 3, side, side))
    middle = time.perf_counter()
    slim(traced, half(traced))
    end = time.perf_counter()
    return middle - start, end - middle, weights, peak_mebibytes() - before


def cost_times() -> tuple[float, float]:
    """Milliseconds to cost 10,000 width vectors of ResNet-56: MACs, parameters."""
    torch.set_num_threads(1)
    model = build(ModelSpec("resnet56", kwargs={"shortcut": "A-conv"})).eval()
    traced = trace(model, torch.zeros(1, 3, 32, 32))
    space = build_space(traced.groups, (8, 16, 24, 32))
    size = (10_000, len(space.groups))
    widths = space.snap(np.random.default_rng(0).integers(0, space.full + 1, size))
    cost = CostModel(traced)
    return milliseconds(lambda: cost.macs(widths)), milliseconds(lambda: cost.params(widths))


def rows() -> list[tuple[str, float, str, float | None]]:
    """What was measured: name, value, unit, and the bar where there is one."""
    # A fresh process each time: the peak of one is not hidden by that of another.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        traced, slimmed, weights, extra = pool.apply(slim_once, ("torchvision/resnet50", 224))
        macs, params = pool.apply(cost_times)
    return [
        ("resnet50: trace", traced, "s", None),
        ("resnet50: slim to half widths", slimmed, "s", None),
        ("resnet50: both", traced + slimmed, "s", 3.0),
        ("resnet50: memory on top of the model", extra / weights, "x", 2.0),
        ("resnet50: memory, the model included", 1 + extra / weights, "x", 2.0),
        ("resnet56: MACs of 10,000 widths", macs, "ms", 50.0),
        ("resnet56: params of 10,000 widths", params, "ms", 50.0),
    ]


def show(name: str, value: float, unit: str, bar: float | None) -> bool:
    """Print one row; whether it keeps its bar."""
    kept = bar is None or value <= bar
    limit = "" if bar is None else f"{bar:g} {unit}"
    print(f"{name:38}{value:10.2f} {unit:<2}{limit:>8}  {'' if kept else 'MISSED'}".rstrip())
    return kept


def main() -> int:
    print(f"{platform.machine()} {platform.processor()}, {datetime.date.today()}, 1 thread")
    print(f"{'':38}{'measured':>13}{'bar':>8}")
    kept = [show(*row) for row in rows()]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
