"""Speed of scoring masks: matrix products against a per-individual pywt loop.

``python benchmarks/wavelet.py`` scores populations of the largest stage of ResNet-56 (ten groups
of 64 channels) and prints masks a second, and a second of this process on the processor, which
tells what other work on the machine took away. All figures come from one run on one machine.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pywt
import torch
from numpy.typing import NDArray

from edgeprune.prune.search.strategies.gwcs_genomes import BitGenomes
from edgeprune.prune.space.widths import PruningSpace
from edgeprune.prune.tracing.trace import ChannelGroup

GROUPS, CHANNELS, SIDE, IMAGES = 10, 64, 8, 64
GRID = (16, 32, 48, 64)
Speed = tuple[float, float]


def stage(device: torch.device) -> BitGenomes:
    """Nine branches and their stream; random numbers, which do not change the time."""
    groups = tuple(
        ChannelGroup(
            name=f"g{i}",
            width=CHANNELS,
            stage=2,
            block=f"b{i}" if i else None,
            droppable=i > 0,
            slices=(),
        )
        for i in range(GROUPS)
    )
    generator = torch.Generator().manual_seed(0)
    return BitGenomes(
        space=PruningSpace(groups, (GRID, *[(0, *GRID)] * (GROUPS - 1))),
        interactions=tuple(
            torch.rand(CHANNELS, CHANNELS, generator=generator).to(device) for _ in groups
        ),
        saliencies=tuple(torch.rand(CHANNELS, generator=generator).to(device) for _ in groups),
        drops=(1.0,) * GROUPS,
        members=tuple(range(GROUPS)),
    )


def scored_a_second(device: torch.device, population: int, seconds: float) -> list[Speed]:
    """Populations of the stage: masks that are at hand, and bit strings that are decoded first."""
    coding, generator = stage(device), np.random.default_rng(0)
    density = generator.random((population, 1))
    genomes = (generator.random((population, len(coding.choices))) < density).astype(np.int64)
    masks, _ = coding.masks(genomes)
    return [
        rate(lambda: len(coding.aggregation(masks)), seconds),
        rate(lambda: len(coding.damage(genomes)), seconds),
    ]


def plain_a_second(seconds: float) -> Speed:
    """The same with one individual at a time: transform its kept maps, then score them."""
    generator = np.random.default_rng(0)
    maps = generator.random((GROUPS, CHANNELS, IMAGES, SIDE, SIDE))

    def score() -> int:
        for group in maps:
            plain_score(group[generator.random(CHANNELS) < 0.5])
        return 1

    return rate(score, seconds)


def plain_score(maps: NDArray[np.float64]) -> float:
    """Energy and redundancy of one individual's kept channels, shape (K, N, H, W)."""
    signatures, energy = [], 0.0
    for channel in maps:
        coarse, details = pywt.wavedec2(channel, "haar", mode="symmetric", level=1)
        energy += float(np.sum(coarse**2)) + sum(float(np.sum(band**2)) for band in details)
        signature = coarse.mean((1, 2))
        signatures.append((signature - signature.mean()) / np.linalg.norm(signature))
    cosine = np.abs(np.array(signatures) @ np.array(signatures).T)
    return energy - float(cosine.mean())


def rate(work: Callable[[], int], seconds: float) -> Speed:
    """Masks a second and a processor second, best of five windows; the first call not counted."""
    work()
    speeds = []
    for _ in range(5):
        masks, started, used = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds / 5:
            masks += work()
        speeds.append(
            (masks / (time.perf_counter() - started), masks / (time.process_time() - used))
        )
    return max(speed[0] for speed in speeds), max(speed[1] for speed in speeds)


def table(devices: list[torch.device], populations: list[int], seconds: float) -> list[str]:
    plain = plain_a_second(seconds)
    rows = [("pywt, one by one", *plain)]
    for device in devices:
        for population in populations:
            speeds = scored_a_second(device, population, seconds)
            for what, speed in zip(("scored", "decoded, scored"), speeds, strict=True):
                rows.append((f"{device.type}, {population} at once, {what}", *speed))
    lines = [f"{'masks of 10 groups of 64':<34}{'a second':>12}{'a CPU second':>14}{'ratio':>9}"]
    return lines + [
        f"{name:<34}{speed:>12,.0f}{on_processor:>14,.0f}{speed / plain[0]:>9,.0f}"
        for name, speed, on_processor in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", type=int, nargs="+", default=[64, 512, 8192])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    parser.add_argument("--device", nargs="+", default=None, help="default: all there are")
    given = parser.parse_args()
    found = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    lines = table(
        [torch.device(name) for name in given.device or found], given.population, given.seconds
    )
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )
    print("\n".join(lines))
    if not torch.cuda.is_available():
        print("cuda: no device here, not run")


if __name__ == "__main__":
    main()
