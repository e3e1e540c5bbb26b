"""Multiple-choice knapsack by dynamic programming: least loss for a given saving."""

from collections.abc import Callable, Sequence

import numpy as np

from edgeprune.arrays import Floats, Genome, Ints

_BINS = 2000  # savings are rounded to 1/2000 of the need, below the error of any prediction
_HALVINGS = 12  # 1 / 2**12 of the dense cost: finer than the bins


def pick(losses: Sequence[Floats], savings: Sequence[Floats], need: float) -> list[int]:
    """Solve a multiple-choice knapsack by dynamic programming.

    Args:
        losses: Loss of each option of each of G kinds, (N_g,).
        savings: Saving of each option, at least 0 for one of each kind, (N_g,).
        need: Saving that is wanted in all; as much as can be where that is less.

    Returns:
        The option of each kind. Savings are rounded down to 1/2000 of the need, so they never
        fall short of it.
    """
    most = sum(float(np.max(s)) for s in savings)
    step = max(min(need, most), 1e-9) / _BINS
    best = np.full(_BINS + 1, np.inf)
    best[0] = 0.0
    taken: list[Ints] = []  # (B, 2) for each kind: option, and the bins before it
    for loss, saving in zip(losses, savings, strict=True):
        best, choice = _extended(best, loss, np.floor(saving / step + 1e-9).astype(int))
        taken.append(choice)
    at = int(np.flatnonzero(np.isfinite(best))[-1])
    chosen: list[int] = []
    for choice in reversed(taken):
        option, at = choice[at]
        chosen.append(int(option))
    return chosen[::-1]


def _extended(best: Floats, loss: Floats, bins: Ints) -> tuple[Floats, Ints]:
    """Least loss per bins saved with one kind more; option taken and bins before, (B, 2)."""
    after = np.full_like(best, np.inf)
    choice = np.zeros((len(best), 2), np.int64)
    last = len(best) - 1
    for option, (added, saved) in enumerate(zip(loss, bins, strict=True)):
        total = np.full_like(best, np.inf)
        start = np.arange(len(best)) - saved  # (B,), bins before this option is taken
        inside = (start >= 0) & (start <= last)
        total[inside] = best[start[inside]] + added
        # Whatever saves more than is needed ends in the last bin: the cheapest of it counts.
        beyond = max(last - saved, 0)
        if beyond <= last:  # an option that costs more never ends there
            start[last] = beyond + int(best[beyond:].argmin())
            total[last] = best[start[last]] + added
        better = total < after
        after[better] = total[better]
        choice[better, 0], choice[better, 1] = option, start[better]
    return after, choice


def fitted(
    pick_for: Callable[[float], Genome], cost: Callable[[Genome], float], limit: float
) -> Genome:
    """Ask for just as much as brings the true cost under ``limit``: savings only nearly add up.

    Args:
        pick_for: From a need to a solution.
        cost: True cost of a solution as a share of the dense one.
        limit: Highest cost wanted.

    Returns:
        The solution of the least need that keeps the limit, or of the greatest tried.
    """
    low, high = 0.0, 1.5 * (1 - limit) + 0.05
    solution = pick_for(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        trial = pick_for(middle)
        if cost(trial) <= limit:
            solution, high = trial, middle
        else:
            low = middle
    return solution
