"""The sequential test of a latency ratio against a limit: looks, error per look, decisions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.deploy.timing.samples import Health, PairedEpoch
from edgeprune.deploy.timing.statistics import Interval, Status, against, mean_interval

LOOKS = (4, 6, 8, 12, 16, 24, 32)  # epochs; about half as many again each time
MORE_LOOKS = (48, 64)  # on a machine that Health doubts, twice the epochs before giving up
ALPHA = 0.01  # a look; both sides together
FLOOR = 0.005  # of the log ratio: alternation itself leans by a quarter of a percent


@dataclass(frozen=True)
class Decision:
    """What the looks say about a limit: a status, the epochs it took and the ratio's interval."""

    status: Status
    epochs: int
    ratio: Interval | None


def ratio_of(values: Sequence[float]) -> Interval | None:
    """Interval of the ratio from epoch values (logs)."""
    if len(values) < 2:
        return None
    return Interval(*(math.exp(log) for log in mean_interval(values, ALPHA, FLOOR)))


def decide(epochs: Sequence[PairedEpoch], limit: float, clock: str) -> Decision:
    """Look at 4, 6, 8, ... epochs and stop at the first look that settles it."""
    values = [epoch.value for epoch in epochs]
    for look in looks(epochs, clock):
        ratio = ratio_of(values[:look])
        if ratio and (status := against(ratio, limit)) != "inconclusive":
            return Decision(status, look, ratio)
    return Decision("inconclusive", len(values), ratio_of(values))


def looks(epochs: Sequence[PairedEpoch], clock: str) -> list[int]:
    """The looks that these epochs allow: more of them when the machine was not quiet."""
    # Large models run fewer rounds an epoch, so their epochs spread more.
    first = 8 if epochs and len(epochs[0].reference) < 8 else LOOKS[0]
    last = min(len(epochs), cap(epochs, clock))
    return [look for look in (*LOOKS, *MORE_LOOKS) if first <= look <= last]


def cap(epochs: Sequence[PairedEpoch], clock: str) -> int:
    """The epochs after which an undecided comparison is given up."""
    doubted = len(epochs) >= LOOKS[-1] and Health.of(epochs[: LOOKS[-1]], clock).doubts
    return MORE_LOOKS[-1] if doubted else LOOKS[-1]
