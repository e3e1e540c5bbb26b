"""Small-sample statistics of a verdict: t interval, a test by betting, percentiles."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from statistics import fmean, stdev
from typing import Literal, NamedTuple

Status = Literal["met", "missed", "inconclusive"]
STAKES = 8  # more settle no sooner


class Interval(NamedTuple):
    """A point estimate and the range around it."""

    low: float
    mid: float
    high: float


def t_cdf(t: float, freedom: int) -> float:
    """Probability that Student's t with ``freedom`` (1, 2, ...) degrees is at most ``t``.

    Reference:
        M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4:
        finite sums, exact for whole degrees of freedom.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = total = (math.cos(angle) if odd else 1.0) if freedom > 1 else 0.0
    for step in range(2 + odd, freedom - 1, 2):
        term *= square * (step - 1) / step
        total += term
    central = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + central) / 2


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """The t that ``t_cdf`` maps to ``probability`` (strictly between 0 and 1)."""
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < probability else (low, middle)
    return high


def mean_interval(values: Sequence[float], alpha: float, floor: float = 0.0) -> Interval:
    """Two-sided t interval of the mean of at least two independent values.

    Args:
        values: One value an epoch.
        alpha: Chance that the mean lies outside, both sides together.
        floor: Least half-width, for what the spread of the values cannot show.
    """
    mid = fmean(values)
    error = stdev(values) / math.sqrt(len(values))
    half = max(floor, t_quantile(1 - alpha / 2, len(values) - 1) * error)
    return Interval(mid - half, mid, mid + half)


def against(interval: Interval, limit: float) -> Status:
    """``met`` when the interval lies wholly at or under the limit, ``missed`` wholly over it."""
    if interval.high <= limit:
        return "met"
    return "missed" if interval.low > limit else "inconclusive"


def betting_verdict(shares: Sequence[float], chance: float, alpha: float) -> Status:
    """Whether the mean of independent values in 0..1 lies under ``chance`` or over it.

    Money is bet on each side at several stakes, fairly if the mean were ``chance``: whatever the
    values' distribution, the chance that it ever grows ``1 / alpha``-fold is then at most
    ``alpha``, however often one looks.

    Args:
        shares: One value a session: the share of its runs over a limit.
        chance: The mean to be told from, between 0 and 1.
        alpha: Chance of a wrong ``met``, and of a wrong ``missed``, over all looks.

    Returns:
        ``met`` when the mean is surely at most ``chance``, ``missed`` when surely at least.

    Reference:
        I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
        JRSS B 86(1), 2024, section 4 (a capital process averaged over stakes).
    """
    if _grown((chance - share) / (1 - chance) for share in shares) * alpha >= 1:
        return "met"
    grown = _grown((share - chance) / chance for share in shares)
    return "missed" if grown * alpha >= 1 else "inconclusive"


def _grown(gains: Iterable[float]) -> float:
    """What 1 has grown to, averaged over stakes; a gain of -1 loses all that is staked."""
    capital = [1.0] * STAKES
    for gain in gains:
        capital = [has * (1 + stake / STAKES * gain) for stake, has in enumerate(capital, 1)]
    return fmean(capital)


@cache
def least_sessions(chance: float, alpha: float) -> int:
    """Sessions without a single run over the limit that a ``met`` needs at least."""
    sessions = 1
    while betting_verdict([0.0] * sessions, chance, alpha) != "met":
        sessions += 1
    return sessions


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of a hundred values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
