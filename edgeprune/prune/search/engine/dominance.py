"""Non-dominated sorting under Deb's constraint rules, and the knee of a front.

Reference:
    K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, A fast and elitist multiobjective genetic
    algorithm: NSGA-II, IEEE Transactions on Evolutionary Computation 6(2), 2002.
"""

import numpy as np

from edgeprune.arrays import Bools, Floats
from edgeprune.prune.search.engine.population import Objectives


def knee(values: Floats) -> int:
    """The point of values (K, M) furthest below the line between the front's ends, axes scaled."""
    span = np.maximum(values.max(0) - values.min(0), 1e-12)
    scaled = (values - values.min(0)) / span
    return int(np.argmin(scaled.sum(1)))


def fronts(objectives: Objectives, count: int) -> list[list[int]]:
    """Non-dominated sorting under Deb's rules, by whole matrices.

    Feasible beats infeasible, then the smaller violation, then dominance.

    Returns:
        Indices front by front, best first, as many fronts as hold ``count`` of the P genomes.
        It takes memory for P x P booleans.
    """
    beats = _beats(objectives)
    beaten_by = beats.sum(0)  # (P,), how many others beat each
    found: list[list[int]] = []
    while sum(map(len, found)) < min(count, len(beaten_by)):
        front = np.flatnonzero(beaten_by == 0)
        found.append(front.tolist())
        beaten_by -= beats[front].sum(0)
        beaten_by[front] = -1  # never 0 again
    return found


def _beats(objectives: Objectives) -> Bools:
    """Whether genome i beats genome j, shape (P, P)."""
    violation = objectives.violation
    no_worse = violation[:, None] == violation
    better = np.zeros_like(no_worse)
    for column in objectives.values.T:
        no_worse &= column[:, None] <= column
        better |= column[:, None] < column
    beaten: Bools = (violation[:, None] < violation) | (no_worse & better)
    return beaten
