"""The sequential test of a latency ratio against a limit: looks, overall error, decisions.

The intervals of all looks hold the ratio together with 99 %, so the one that is printed after
stopping does too, and a candidate exactly at its limit is called met less than once in 100.
Every look spends the same; of the spending functions tried (O'Brien-Fleming's, Pocock's, powers
of the share of epochs) none needed fewer epochs.

Reference:
    C. Jennison and B. Turnbull, Group Sequential Methods, 1999, chapters 2 and 9 (Pocock's
    constant levels; repeated confidence intervals).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from edgeprune.deploy.timing.samples import Health, PairedEpoch
from edgeprune.deploy.timing.statistics import (
    Interval,
    Status,
    against,
    mean_interval,
    t_quantile,
)

LOOKS = (4, 6, 8, 12, 16, 24, 32)  # epochs; about half as many again each time
MORE_LOOKS = (48, 64)  # on a machine that Health doubts, twice the epochs before giving up
ALPHA = 0.0014  # a look, both sides together: by simulation 1 % over all nine
OVERALL = 0.01
FLOOR = 0.005  # of the log ratio: alternation itself leans by a quarter of a percent


@dataclass(frozen=True)
class Decision:
    """What the looks say about a limit: a status, the epochs it took and the ratio's interval."""

    status: Status
    epochs: int
    ratio: Interval | None


def ratio_of(values: Sequence[float], alpha: float = ALPHA) -> Interval | None:
    """Interval of the ratio from epoch values (logs); ``alpha`` is that of one look."""
    if len(values) < 2:
        return None
    return Interval(*(math.exp(log) for log in mean_interval(values, alpha, FLOOR)))


def decide(epochs: Sequence[PairedEpoch], limit: float, clock: str) -> Decision:
    """Look at 4, 6, 8, ... epochs and stop at the first look that settles it."""
    return settle([epoch.value for epoch in epochs], limit, looks(epochs, clock))


def settle(values: Sequence[float], limit: float, at: Sequence[int]) -> Decision:
    """The decision on the epochs' values (logs of the ratio), looked at after each of ``at``."""
    for look in at:
        ratio = ratio_of(values[:look])
        if ratio and (status := against(ratio, limit)) != "inconclusive":
            return Decision(status, look, ratio)
    return Decision("inconclusive", len(values), ratio_of(values))


def looks(epochs: Sequence[PairedEpoch], clock: str) -> list[int]:
    """The looks that these epochs allow: more of them when the machine was not quiet."""
    last = min(len(epochs), cap(epochs, clock))
    return [look for look in (*LOOKS, *MORE_LOOKS) if look <= last]


def cap(epochs: Sequence[PairedEpoch], clock: str) -> int:
    """The epochs after which an undecided comparison is given up."""
    doubted = len(epochs) >= LOOKS[-1] and Health.of(epochs[: LOOKS[-1]], clock).doubts
    return MORE_LOOKS[-1] if doubted else LOOKS[-1]


def sessions_needed(values: Sequence[float], limit: float) -> int | None:
    """The look that settles a limit if the epochs go on like these; None where no look does."""
    if len(values) < 2:
        return LOOKS[0]
    apart, spread = abs(fmean(values) - math.log(limit)), stdev(values)
    for look in LOOKS:
        half = t_quantile(1 - ALPHA / 2, look - 1) * spread / math.sqrt(look)
        if look > len(values) and max(half, FLOOR) <= apart:
            return look
    return None
