"""Per-group sensitivity: loss that slimming one group alone adds, by width and criterion (F0).

The cheapest fidelity of the joint search is the sum of these losses over the groups. NetAdapt and
AMC rest on the same near-additivity.

References:
    T.-J. Yang et al., NetAdapt, ECCV 2018.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.arrays import Floats, Genomes, Ints
from edgeprune.prune.search.evaluation.encoding import Encoding

MEASURED_LEVELS = 4  # each costs an F1 score for each group; others are interpolated
Losses = Callable[[Genomes], Floats]


@dataclass(frozen=True)
class Sensitivity:
    """Loss added by each group alone.

    Attributes:
        encoding: What the genomes mean.
        dense: Loss of the dense network.
        added: Loss by group, level and criterion, shape (G, levels, criteria); 0 at full width.
    """

    encoding: Encoding
    dense: float
    added: Floats

    def losses(self, genomes: Genomes) -> Floats:
        """Predicted loss of a population (P, 2 G), shape (P,)."""
        levels, criteria = np.split(genomes, [self.encoding.groups], 1)
        groups = np.arange(self.encoding.groups)
        # levels and criteria (P, G) pick one entry per group -> (P, G) -> (P,)
        total: Floats = self.dense + self.added[groups, levels, criteria].sum(1)
        return total

    def best_criteria(self) -> Ints:
        """The least harmful criterion by group and level, shape (G, levels)."""
        best: Ints = self.added.argmin(2)
        return best


def measure(encoding: Encoding, losses: Losses) -> Sensitivity:
    """Slim one group at a time and score the network by ``losses``, (P, 2 G) to (P,).

    Of a group's levels at most :data:`MEASURED_LEVELS` are measured, the ends among them, and
    all criteria at the middle one alone; what lies between is interpolated.
    """
    full = encoding.full
    dense = float(losses(full[None])[0])
    most = max(len(grid) for grid in encoding.space.grids)
    added = np.zeros((encoding.groups, most, len(encoding.saliencies)))
    for group in range(encoding.groups):
        added[group] = _of_group(encoding, group, most, lambda g: losses(g) - dense)
    return Sensitivity(encoding, dense, added)


def _of_group(encoding: Encoding, group: int, most: int, added: Losses) -> Floats:
    grid, owner = encoding.space.grids[group], encoding.space.groups[group]
    result = np.zeros((most, len(encoding.saliencies)))  # (levels, criteria)
    levels = np.arange(len(grid) - 1)  # all but the full width
    partial = levels[1:] if grid[0] == 0 else levels
    if grid[0] == 0:
        # A dropped branch takes all its groups with it: each bears its part of the loss.
        sharing = sum(g.block == owner.block for g in encoding.space.groups if g.droppable)
        result[0] = max(added(alone(encoding, group, [0], [0]))[0], 0.0) / sharing
    if not len(partial):
        return result
    chosen = _spread(partial)
    middle = chosen[len(chosen) // 2]
    every = np.arange(len(encoding.saliencies))
    at_middle = np.maximum(added(alone(encoding, group, np.full_like(every, middle), every)), 0)
    best = int(at_middle.argmin())
    others = [level for level in chosen if level != middle]
    known = {middle: float(at_middle[best])}
    if others:
        measured = added(alone(encoding, group, others, np.full(len(others), best)))
        known |= dict(zip(others, measured.tolist(), strict=True))
    # A narrower network that scores better does so by chance.
    points = sorted(known)
    curve = np.maximum.accumulate([max(known[p], 0.0) for p in points][::-1])[::-1]
    widths = [grid[p] for p in points] + [grid[-1]]  # the full width adds no loss
    # line (partial levels,), times each criterion's ratio to the best -> (partial, criteria)
    line = np.interp([grid[p] for p in partial], widths, [*curve, 0.0])
    result[partial] = line[:, None] * (at_middle + 1e-6) / (at_middle[best] + 1e-6)
    return result


def alone(
    encoding: Encoding, group: int, levels: Sequence[int] | Ints, criteria: Sequence[int] | Ints
) -> Genomes:
    """Genomes of the dense network but for one group, at some levels, by a criterion each."""
    genomes = np.repeat(encoding.full[None], len(levels), 0)
    genomes[:, group] = levels
    genomes[:, encoding.groups + group] = criteria
    return encoding.canonical(genomes)


def _spread(levels: Ints) -> list[int]:
    """At most MEASURED_LEVELS of the levels, evenly spread, the ends among them."""
    if len(levels) <= MEASURED_LEVELS:
        return [int(level) for level in levels]
    places = np.linspace(0, len(levels) - 1, MEASURED_LEVELS).round().astype(int)
    return [int(levels[place]) for place in places]
