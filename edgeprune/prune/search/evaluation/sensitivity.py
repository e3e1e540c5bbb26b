"""Free damage of genomes: a sum over groups by width and criterion, no network scored (F0).

It is an order, not a loss: several times too small in nats, but it ranks width vectors as well as
losses that are measured one group at a time (search.md).
"""

from dataclasses import dataclass

import numpy as np

from edgeprune.arrays import Floats, Genomes, Ints
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.problem import Problem

SCALE = 1e3  # nats to millinats: evolve compares to 4 decimals


@dataclass(frozen=True)
class Sensitivity:
    """Damage added by each group alone.

    Attributes:
        encoding: What the genomes mean.
        added: Damage by group, level and criterion, shape (G, levels, criteria), millinats; 0 at
            full width. A dropped branch shares its damage out over its groups.
    """

    encoding: Encoding
    added: Floats

    def losses(self, genomes: Genomes) -> Floats:
        """Predicted damage of a population (P, 2 G), shape (P,)."""
        levels, criteria = np.split(genomes, [self.encoding.groups], 1)
        groups = np.arange(self.encoding.groups)
        # levels and criteria (P, G) pick one entry per group -> (P, G) -> (P,)
        total: Floats = self.added[groups, levels, criteria].sum(1)
        return total

    def best_criteria(self) -> Ints:
        """The least harmful criterion by group and level, shape (G, levels)."""
        best: Ints = self.added.argmin(2)
        return best


def measure(problem: Problem, encoding: Encoding) -> Sensitivity:
    """The damage of every group, level and criterion of an encoding of the problem's criteria."""
    grids = encoding.space.grids
    added = np.zeros((encoding.groups, max(map(len, grids)), len(problem.criteria_names)))
    for group, grid in enumerate(grids):
        for number, name in enumerate(problem.criteria_names):
            for level, width in enumerate(grid):
                added[group, level, number] = _damage(problem, group, width, name)
    return Sensitivity(encoding, SCALE * added)


def _damage(problem: Problem, index: int, width: int, criterion: str) -> float:
    group = problem.space.groups[index]
    if width > 0:
        return problem.damage(criterion, index, width)
    whole = problem.drops.get(str(group.block))
    if whole is None:  # its addition could not be measured: it costs what its channels cost
        return problem.damage(criterion, index, 0)
    return whole / sum(g.droppable and g.block == group.block for g in problem.space.groups)
