"""Joint encoding of genomes: per channel group a level of its width grid and a criterion."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from edgeprune.arrays import Genomes, Ints, Widths
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.space.widths import PruningSpace


@dataclass(frozen=True)
class Encoding:
    """Translation between genomes and networks.

    A genome has 2 G genes: the levels of all groups, places on their grids, then the criteria
    by which their channels are ranked. Level 0 of a droppable group drops its branch.

    Attributes:
        space: Groups and grids.
        saliencies: Per criterion the saliency of each group's channels, (C,).
    """

    space: PruningSpace
    saliencies: tuple[tuple[Tensor, ...], ...]

    @property
    def groups(self) -> int:
        """Number of channel groups, G."""
        return len(self.space.groups)

    @property
    def choices(self) -> list[int]:
        """Number of values that each gene takes, 2 G of them."""
        return [len(grid) for grid in self.space.grids] + [len(self.saliencies)] * self.groups

    @property
    def full(self) -> Genomes:
        """The genome of the dense network, shape (2 G,)."""
        genome = np.zeros(2 * self.groups, np.int64)
        genome[: self.groups] = [len(grid) - 1 for grid in self.space.grids]
        return genome

    @cached_property
    def _table(self) -> Widths:
        """Width of each level, the last one repeated, shape (G, levels)."""
        most = max(len(grid) for grid in self.space.grids)
        levels = np.arange(most)
        rows = [np.take(grid, levels, mode="clip") for grid in self.space.grids]
        return np.stack(rows).astype(np.int64)

    @cached_property
    def _orders(self) -> tuple[tuple[Ints, ...], ...]:
        """Per criterion and group the channels, most salient first."""
        return tuple(
            tuple(s.argsort(descending=True, stable=True).cpu().numpy() for s in criterion)
            for criterion in self.saliencies
        )

    def widths(self, genomes: Genomes) -> Widths:
        """Settled widths of a population, shape (P, G)."""
        levels = genomes[:, : self.groups]  # (P, G), picks one width of each row of the table
        return self.space.settle(self._table[np.arange(self.groups), levels])

    def genomes(self, widths: Widths, criteria: Sequence[int] | int = 0) -> Genomes:
        """Canonical genomes of legal widths (P, G), with a criterion each, or one for all."""
        levels = [np.searchsorted(grid, widths[:, i]) for i, grid in enumerate(self.space.grids)]
        chosen = np.broadcast_to(np.asarray(criteria, np.int64), widths.shape)  # (P, G)
        return self.canonical(np.concatenate([np.stack(levels, 1), chosen], 1).astype(np.int64))

    def canonical(self, genomes: Genomes) -> Genomes:
        """One genome for one network: what has no effect is 0, shape (P, 2 G)."""
        widths = self.widths(genomes)
        levels, criteria = np.split(genomes, [self.groups], 1)  # (P, G) each
        gone, full = widths == 0, widths == self.space.full
        return np.concatenate([np.where(gone, 0, levels), np.where(full | gone, 0, criteria)], 1)

    def plan(self, genome: Ints) -> PruningPlan:
        """What the network of one genome (2 G,) keeps."""
        widths = self.widths(genome[None])[0]
        kept = {}
        for i, (group, width) in enumerate(zip(self.space.groups, widths, strict=True)):
            order = self._orders[genome[self.groups + i]][i]
            kept[group.name] = tuple(sorted(order[:width].tolist()))
        return PruningPlan(model="", kept=kept)

    def choice(self, genome: Ints, costs: Costs, **scores: float) -> Choice:
        """One genome as a choice."""
        widths = self.widths(genome[None])
        return Choice(self.plan(genome).kept, widths[0], costs.ratios(widths)[0], scores)
