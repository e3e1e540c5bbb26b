"""Verdict on the accuracy lost: a paired interval from the counts that the export recorded.

Dense and slim network answered the same test images, so only the images that one of them alone
got right tell them apart.
"""

import math
from statistics import NormalDist

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.artifact.provenance import PairedCounts, paired_counts
from edgeprune.deploy.gate.verdicts import Verdict
from edgeprune.deploy.timing.statistics import Interval, against

ALPHA = 0.01  # both sides together: a wrong "met" comes once in 200
MOST_IMAGES = 1_000_000  # no test set is larger
NO_COUNTS = "the file records no counts of answers; export it again with this edgeprune"


def accuracy(candidate: Facts, limit: float) -> Verdict:
    """The verdict on the percentage points lost.

    A file without the counts is never met: what it records of both accuracies can only miss.
    """
    counts = paired_counts(candidate.recorded)
    if counts is None:
        return _unpaired(candidate, limit)
    low, lost, high = (100 * share for share in paired_difference(counts))
    outcome = against(Interval(low, lost, high), limit)
    said = (
        f"{counts.images:,} test images, dense right on {counts.dense_share:.2%}, slim on "
        f"{counts.slim_share:.2%}, {counts.dense} dense alone, {counts.slim} slim alone"
    )
    if outcome == "inconclusive":
        said += f"; {_wanted(counts, limit / 100)}"
    return Verdict(
        name="accuracy_drop",
        outcome=outcome,
        limit=limit,
        value=round(lost, 6),
        unit=" points",
        interval=(low, high),
        evidence=said,
        rule="paired",
        raw=counts.model_dump(),
    )


def _unpaired(candidate: Facts, limit: float) -> Verdict:
    """Missed where the recorded accuracies say so, else undecided."""
    dense, slim = candidate.number("accuracy_dense"), candidate.number("accuracy_slim")
    lost, said = None, NO_COUNTS
    if dense is not None and slim is not None:
        lost = round(100 * (dense - slim), 6)  # 0.95 - 0.94 is 0.010000000000000009
        said = f"{dense:.2%} dense, {slim:.2%} slim; {NO_COUNTS}"
    elif not candidate.recorded:
        said = "the file records nothing of its accuracy: only a file of edgeprune's export does"
    return Verdict(
        name="accuracy_drop",
        outcome="missed" if lost is not None and lost > limit else "inconclusive",
        limit=limit,
        value=lost,
        unit=" points",
        evidence=said,
        rule="paired",
        raw={"accuracy_dense": dense, "accuracy_slim": slim},
    )


def _wanted(counts: PairedCounts, limit: float) -> str:
    """The number of test images that would settle the limit, were all answered alike."""
    images = images_needed(counts, limit)
    if images is None:
        return f"too near the limit for {MOST_IMAGES:,} images; move the limit or the network"
    return f"about {images:,} test images would settle a loss like this"


def images_needed(counts: PairedCounts, limit: float) -> int | None:
    """Images that settle a limit (a share) at this loss; None where a million do not."""
    low, high = 1.0, MOST_IMAGES / counts.images
    if _settles(counts, limit, low):
        return counts.images
    if not _settles(counts, limit, high):
        return None
    while high - low > 0.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if _settles(counts, limit, middle) else (middle, high)
    step = int(10 ** max(0, math.ceil(math.log10(high * counts.images)) - 2))  # two digits
    return step * math.ceil(high * counts.images / step)


def _settles(counts: PairedCounts, limit: float, scale: float) -> bool:
    return against(paired_difference(counts, scale), limit) != "inconclusive"


def paired_difference(counts: PairedCounts, scale: float = 1.0) -> Interval:
    """99 % interval of the dense network's share of right answers less the slim one's.

    Args:
        counts: At least one image.
        scale: As if so many times the images had been answered alike.

    Reference:
        R. Newcombe, Improved confidence intervals for the difference between binomial
        proportions based on paired data, Statistics in Medicine 17, 1998, method 10.
    """
    images, z = scale * counts.images, NormalDist().inv_cdf(1 - ALPHA / 2)
    (low1, high1), (low2, high2) = (
        wilson(share, images, z) for share in (counts.dense_share, counts.slim_share)
    )
    phi = _correlation(counts, scale)
    below = _hypotenuse(counts.dense_share - low1, high2 - counts.slim_share, phi)
    above = _hypotenuse(high1 - counts.dense_share, counts.slim_share - low2, phi)
    return Interval(counts.lost - below, counts.lost, counts.lost + above)


def _correlation(counts: PairedCounts, scale: float) -> float:
    """Of the two networks' answers (phi); a continuity correction takes it towards zero."""
    both, dense, slim, neither = counts.both, counts.dense, counts.slim, counts.neither
    margins = (both + dense) * (slim + neither) * (both + slim) * (dense + neither)
    if not margins:
        return 0.0
    excess = float(both * neither - dense * slim)
    if excess > 0:
        excess = max(0.0, excess - counts.images / 2 / scale)
    return excess / math.sqrt(margins)


def _hypotenuse(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def wilson(share: float, count: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share of ``count`` trials."""
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
