"""Small-sample statistics of a verdict: Student's t interval, exact binomial test, percentiles."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from statistics import fmean, stdev
from typing import Literal, NamedTuple

Status = Literal["met", "missed", "inconclusive"]


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


def binomial_tail(runs: int, least: int, chance: Fraction) -> Fraction:
    """Probability of ``least`` or more events in ``runs``, exact."""
    # In whole numbers: exact, and faster than a sum of fractions.
    hit, miss = chance.numerator, chance.denominator - chance.numerator
    ways = sum(
        math.comb(runs, k) * hit**k * miss ** (runs - k) for k in range(max(0, least), runs + 1)
    )
    return Fraction(ways, chance.denominator**runs)


def percentile_verdict(runs: int, over: int, percentile: int, alpha: float) -> Status:
    """Whether the ``percentile`` of the run times keeps a limit that ``over`` of ``runs`` exceed.

    ``met`` when so few runs over the limit would be a chance of at most ``alpha``, were the
    percentile at the limit; ``missed`` when so many would be.

    Reference:
        MLPerf LoadGen, early stopping: the same binomial test, distribution-free.
    """
    chance, error = Fraction(100 - percentile, 100), Fraction(alpha)  # of a run over the limit
    if 1 - binomial_tail(runs, over + 1, chance) <= error:
        return "met"
    return "missed" if binomial_tail(runs, over, chance) <= error else "inconclusive"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of a hundred values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
