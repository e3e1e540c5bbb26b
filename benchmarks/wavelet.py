"""How fast are masks scored: matrix products against a per-individual pywt loop.

``python benchmarks/wavelet.py`` scores the largest stage of ResNet-56 (ten groups of 64
channels) and prints masks a second; both figures come from one run on one machine.
"""

import argparse
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.prune.descriptors import Descriptors, aggregation

GROUPS, CHANNELS, SIDE, IMAGES = 10, 64, 8, 64


def descriptors(device: torch.device) -> Descriptors:
    """Random descriptors of one group; their values do not change the time."""
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(CHANNELS, generator=generator)
    cosine = torch.rand(CHANNELS, CHANNELS, generator=generator)
    return Descriptors(saliency, saliency, saliency, (cosine + cosine.T) / 2).to(device)


def masks_a_second(device: torch.device, population: int, seconds: float) -> float:
    """Masks of the whole stage scored a second on ``device``."""
    described = [descriptors(device) for _ in range(GROUPS)]
    masks = [torch.rand(population, CHANNELS, device=device) < 0.5 for _ in range(GROUPS)]

    def score() -> Tensor:
        pairs = zip(masks, described, strict=True)
        return torch.stack([aggregation(mask, group) for mask, group in pairs]).sum(0).cpu()

    return population * rate(lambda: score().shape[0], seconds)


def plain_masks_a_second(seconds: float) -> float:
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


def rate(work: Callable[[], int], seconds: float) -> float:
    """Calls a second, best of three windows, after one call that is not counted."""
    work()
    best = 0.0
    for _ in range(3):
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds / 3:
            work()
            calls += 1
        best = max(best, calls / (time.perf_counter() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", type=int, default=8192)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    plain = plain_masks_a_second(given.seconds)
    rows = [("pywt, one by one", plain)]
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda")] if torch.cuda.is_available() else []
    for device in devices:
        speed = masks_a_second(device, given.population, given.seconds)
        rows.append((f"matrix products, {device.type}", speed))
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ",
        end="",
    )
    print(f"torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}")
    print(f"{'masks of 10 groups of 64':<28}{'a second':>12}{'ratio':>10}")
    for name, speed in rows:
        print(f"{name:<28}{speed:>12,.0f}{speed / plain:>10,.0f}")


if __name__ == "__main__":
    main()
