"""Repair of genomes to the limits: greedy shrinking and growth by the loss of each move."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeprune.arrays import Bools, Floats, Genomes, Ints
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.sensitivity import Sensitivity
from edgeprune.prune.space.budget import Costs, Limits

_STEPS = 400  # at most so many moves, each of one group


@dataclass(frozen=True)
class Repair:
    """Brings genomes just under their limits, where the sensitivities say it hurts least.

    Attributes:
        encoding: What the genomes mean.
        costs: Predicted costs of widths.
        limits: Limits that must hold.
        sensitivity: Loss that each move adds.
    """

    encoding: Encoding
    costs: Costs
    limits: Limits
    sensitivity: Sensitivity

    def __call__(self, genomes: Genomes) -> Genomes:
        """Shrunk until the limits hold, then grown while they do; canonical, shape (P, 2 G)."""
        return self.grown(self.shrunk(self.encoding.canonical(genomes)))

    def excess(self, genomes: Genomes) -> Floats:
        """Summed relative violation of the limits, 0 where all hold, shape (P,)."""
        return self.limits.excess(self.costs.ratios(self.encoding.widths(genomes)))

    def shrunk(self, genomes: Genomes) -> Genomes:
        """Least added loss per violation removed, move by move, until nothing is violated."""
        genomes = genomes.copy()
        for _ in range(_STEPS):
            over = self.excess(genomes)
            rows = np.flatnonzero(over > 0)
            if not len(rows):
                break
            moved, price = self._shrinking(genomes[rows])  # (R, M, 2 G) and (R, M)
            best = price.argmin(1)  # (R,), a move of each broken genome
            able = np.isfinite(price[np.arange(len(rows)), best])  # (R,)
            if not able.any():
                # No single group saves anything: all go to their smallest widths at once.
                genomes[rows] = self.encoding.canonical(np.zeros_like(genomes[:1]))
                break
            genomes[rows[able]] = moved[np.flatnonzero(able), best[able]]
        return genomes

    def _shrinking(self, genomes: Genomes) -> tuple[Genomes, Floats]:
        """Moves that save, (P, M, 2 G), and their added loss per violation removed, (P, M)."""
        moved, legal = self._moves(genomes, up=False)  # (P, M, 2 G) and (P, M)
        relief = self.excess(genomes)[:, None] - self._by_move(self.excess, moved)
        before = self.sensitivity.losses(genomes)[:, None]
        # A move that adds no loss still has a price: the one that removes most goes first.
        harm = np.maximum(self._by_move(self.sensitivity.losses, moved) - before, 1e-6)
        price = np.where(legal & (relief > 0), harm / np.maximum(relief, 1e-9), np.inf)
        return moved, price

    def grown(self, genomes: Genomes) -> Genomes:
        """Most loss saved by one group's growth that keeps every limit, until none does."""
        genomes = genomes.copy()
        rows = np.flatnonzero(self.excess(genomes) == 0)
        for _ in range(_STEPS):
            if not len(rows):
                break
            moved, legal = self._moves(genomes[rows], up=True)  # (R, M, 2 G) and (R, M)
            fits = legal & (self._by_move(self.excess, moved) == 0)
            before = self.sensitivity.losses(genomes[rows])[:, None]
            saved = np.where(fits, before - self._by_move(self.sensitivity.losses, moved), -np.inf)
            best = saved.argmax(1)
            able = saved[np.arange(len(rows)), best] >= 0  # (R,)
            genomes[rows[able]] = moved[np.flatnonzero(able), best[able]]
            rows = rows[able]
        return genomes

    @cached_property
    def _places(self) -> Ints:
        """Every (group, level), shape (M, 2)."""
        pairs = [
            (g, n) for g, grid in enumerate(self.encoding.space.grids) for n in range(len(grid))
        ]
        return np.array(pairs, np.int64)

    def _moves(self, genomes: Genomes, *, up: bool) -> tuple[Genomes, Bools]:
        """All moves of one group, (P, M, 2 G), and which of them go the right way, (P, M)."""
        groups, levels = self._places.T  # (M,) each
        moved = np.repeat(genomes[:, None], len(groups), 1)  # (P, M, 2 G)
        now = genomes[:, groups]  # (P, M)
        moved[:, np.arange(len(groups)), groups] = levels
        # A group at full width or gone has no criterion yet: it gets the least harmful one.
        had_none = (now == self.encoding.full[groups]) | (
            self.encoding.widths(genomes)[:, groups] == 0
        )
        genes = self.encoding.groups + groups
        best = self.sensitivity.best_criteria()[groups, levels]  # (M,)
        moved[:, np.arange(len(groups)), genes] = np.where(had_none, best, genomes[:, genes])
        if up:
            moved = self._with_branch(moved)
        # (P, M, 2 G) -> (P M, 2 G) -> (P, M, 2 G)
        flat = self.encoding.canonical(moved.reshape(-1, genomes.shape[1])).reshape(moved.shape)
        return flat, (levels > now) if up else (levels < now)

    @cached_property
    def _together(self) -> list[tuple[Ints, int]]:
        """Moves of a group whose branch has another group, and that group."""
        groups, owners = self._places[:, 0], self.encoding.space.groups
        return [
            (np.flatnonzero(groups == group), other)
            for group, own in enumerate(owners)
            for other, its in enumerate(owners)
            if other != group and own.droppable and its.droppable and its.block == own.block
        ]

    def _with_branch(self, moved: Genomes) -> Genomes:
        """A branch that comes back does so with all of its groups."""
        for at, other in self._together:
            part = moved[:, at, other]  # (P, moves of the group)
            moved[:, at, other] = np.where(part == 0, self.encoding.full[other], part)
        return moved

    def _by_move(self, of: Callable[[Genomes], Floats], moved: Genomes) -> Floats:
        """A value of each genome of ``moved`` (P, M, 2 G), shape (P, M)."""
        return of(moved.reshape(-1, moved.shape[2])).reshape(moved.shape[:2])
