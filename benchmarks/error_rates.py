"""Error rates of the gate's verdicts by simulation: ``python benchmarks/error_rates.py``.

No clock: every draw has a fixed seed. Sessions keep an offset of about 1 % of their own
(gate.md), runs spread about as much. The tests hold the same functions to their bars.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from edgeprune.arrays import Floats
from edgeprune.deploy.artifact.provenance import PairedCounts
from edgeprune.deploy.gate.accuracy import paired_difference
from edgeprune.deploy.gate.percentiles import BATCH, MOST
from edgeprune.deploy.gate.verdicts import ALPHA as PERCENTILE_ALPHA
from edgeprune.deploy.gate.verdicts import PROCESSES
from edgeprune.deploy.timing.sequential import ALPHA, FLOOR, LOOKS, MORE_LOOKS
from edgeprune.deploy.timing.statistics import against, betting_verdict, t_quantile

ALL_LOOKS = (*LOOKS, *MORE_LOOKS)
RUNS = 8  # of a session


class Rates(NamedTuple):
    """Shares of met, missed and of intervals without the truth, and the mean effort."""

    met: float
    missed: float
    outside: float
    effort: float


def epoch_values(trials: int, over: float, spread: float) -> Floats:
    """Logs of a ratio that is ``over`` its limit of 1, shape (trials, 64 epochs)."""
    noise = np.random.default_rng(0).standard_normal((trials, ALL_LOOKS[-1]))
    return math.log(1 + over) + spread * noise


def settled(values: Floats, looks: Sequence[int] = ALL_LOOKS) -> tuple[Floats, Floats, Floats]:
    """What ``sequential.settle`` says of many paths (trials, epochs) at once.

    Returns:
        Middle and half-width of the interval where it stops, and that look; each (trials,).
    """
    middles, halves = [], []
    for look in looks:
        error = values[:, :look].std(axis=1, ddof=1) / math.sqrt(look)
        halves.append(np.maximum(FLOOR, t_quantile(1 - ALPHA / 2, look - 1) * error))
        middles.append(values[:, :look].mean(axis=1))
    middle, half = np.stack(middles, 1), np.stack(halves, 1)  # (trials, looks)
    stop = np.abs(middle) > half
    at = np.where(stop.any(axis=1), stop.argmax(axis=1), len(looks) - 1)
    rows = np.arange(len(values))
    return middle[rows, at], half[rows, at], np.array(looks)[at]


def ratio_rates(
    over: float, spread: float, trials: int, looks: Sequence[int] = ALL_LOOKS
) -> Rates:
    """Rates of the latency verdict on a ratio ``over`` its limit; effort in epochs."""
    middle, half, look = settled(epoch_values(trials, over, spread), looks)
    return Rates(
        met=float(np.mean(middle + half <= 0)),
        missed=float(np.mean(middle - half > 0)),
        outside=float(np.mean(np.abs(middle - math.log(1 + over)) > half)),
        effort=float(look.mean()),
    )


def session_times(trials: int, offset: float, run: float) -> Floats:
    """Logs of run times around their median, shape (trials, 192 sessions, 8 runs)."""
    draw = np.random.default_rng(0)
    shared = offset * draw.standard_normal((trials, MOST, 1))
    return shared + run * draw.standard_normal((trials, MOST, RUNS))


def percentile_rates(percent: int, over: float, offset: float, run: float, trials: int) -> Rates:
    """Rates of a p50 or p90 that is ``over`` its limit; a look a process, effort in sessions."""
    limit = NormalDist().inv_cdf(percent / 100) * math.hypot(offset, run) - over
    shares = (session_times(trials, offset, run) > limit).mean(axis=2)
    found, used = {"met": 0, "missed": 0, "inconclusive": 0}, 0
    for path in shares.tolist():
        for look in range(PROCESSES * BATCH, MOST + 1, BATCH):
            said = betting_verdict(path[:look], 1 - percent / 100, PERCENTILE_ALPHA)
            if said != "inconclusive":
                break
        found[said] += 1
        used += look
    return Rates(found["met"] / trials, found["missed"] / trials, 0.0, used / trials)


def accuracy_rates(images: int, trials: int) -> Rates:
    """Rates at a limit of one point: 2.5 % right by dense alone, 1.5 % by slim alone."""
    drawn = np.random.default_rng(0).multinomial(images, (0.95, 0.025, 0.015, 0.01), size=trials)
    counts = [dict(zip(PairedCounts.model_fields, row, strict=True)) for row in drawn.tolist()]
    found = [paired_difference(PairedCounts(**each)) for each in counts]
    said = [against(interval, 0.01) for interval in found]
    outside = sum(not low <= 0.01 <= high for low, _, high in found)
    return Rates(
        said.count("met") / trials, said.count("missed") / trials, outside / trials, images
    )


def accuracy_span(images: int, differ: float) -> tuple[float, float, float]:
    """What so many images show of a limit of one point where networks ``differ`` on a share.

    Returns:
        Half-width of the interval at no loss, the largest loss that is met and the least that is
        missed, all in points.
    """

    def interval(lost: float) -> tuple[float, float, float]:
        apart = max(differ, abs(lost))
        dense, slim = (round(images * (apart + sign * lost) / 2) for sign in (1, -1))
        both = round(0.95 * images) - dense - slim
        counts = PairedCounts(
            both=both, dense=dense, slim=slim, neither=images - both - dense - slim
        )
        return paired_difference(counts)

    steps = [step / 2000 for step in range(-60, 121)]
    met = [lost for lost in steps if interval(lost)[2] <= 0.01]
    missed = [lost for lost in steps if interval(lost)[0] > 0.01]
    return 100 * interval(0.0)[2], 100 * max(met), 100 * min(missed)


def main() -> None:
    """Print the tables of gate.md."""
    print("latency, spread 2 %, 32 epochs at the most    met   missed  outside  epochs")
    for over in (0.0, -0.01, -0.02, -0.05, 0.02, 0.05):
        met, missed, outside, epochs = ratio_rates(over, 0.02, 100_000, LOOKS)
        print(f"{over:+7.1%}{met:42.2%}{missed:9.2%}{outside:9.2%}{epochs:8.1f}")
    met, missed, outside, _ = ratio_rates(0.0, 0.02, 100_000)
    print(f"at the limit, 64 epochs: {met:.2%} met, {missed:.2%} missed, {outside:.2%} outside")
    for percent in (50, 90):
        for over in (0.0, -0.01, 0.01):
            met, missed, _, used = percentile_rates(percent, over, 0.01, 0.01, 1000)
            print(
                f"p{percent} {over:+.0%}: {met:.1%} met, {missed:.1%} missed, {used:.0f} sessions"
            )
    for images in (597, 10_000):
        met, missed, outside, _ = accuracy_rates(images, 10_000)
        print(
            f"{images} images at the limit: {met:.2%} met, {missed:.2%} missed, {outside:.2%} out"
        )
    for images, differ in ((597, 0.0), (597, 0.02), (5000, 0.02), (10_000, 0.05), (50_000, 0.1)):
        half, most, least = accuracy_span(images, differ)
        said = f"+-{half:.2f} at no loss, met up to {most:+.2f}, missed from {least:.2f} points"
        print(f"{images} images, {differ:.0%} differ: {said}")


if __name__ == "__main__":
    main()
