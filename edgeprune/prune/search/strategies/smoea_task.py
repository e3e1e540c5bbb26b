"""Genomes of one sub-network: decoding, objectives, repair to the limits, seeds (SMOEA).

All of it is our reconstruction, which search.md describes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from edgeprune.arrays import Bools, Floats, Genomes, Ints, Widths
from edgeprune.prune.search.engine.dominance import knee
from edgeprune.prune.search.engine.population import Front, Objectives, Settings
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies.stage_budget import stage_limits
from edgeprune.prune.space.budget import Limits, narrowed, over

Masks = tuple[Tensor, ...]
_PARTS = 33  # parts of its places that repair tries: all, 31/32, ..., none


@dataclass(frozen=True, kw_only=True)
class Task:
    """One sub-network to be pruned while the masks of all other groups stay.

    A genome holds, for each group, the place of its width on the grid, and then one bit for each
    channel: the set bits stay first, the most salient of them before the others.

    Attributes:
        problem: The network, its widths and costs.
        parts: Group indices of every sub-network.
        number: Index in ``parts`` of this one.
        standing: Masks of all groups as they stand.
        limits: Budgets of the whole network.
        damage: Estimate of the accuracy that masks of all groups lose; called for one mask of
            the sub-network more than once.
        last: Whether the share of the budget must be kept, not only approached.
    """

    problem: Problem
    parts: Sequence[tuple[int, ...]]
    number: int
    standing: Masks
    limits: Limits
    damage: Callable[[Masks], float]
    last: bool

    @property
    def members(self) -> tuple[int, ...]:
        """Group indices of the sub-network."""
        return self.parts[self.number]

    @property
    def ahead(self) -> tuple[int, ...]:
        """Group indices of the sub-networks still to come in this round."""
        return tuple(chain.from_iterable(self.parts[self.number + 1 :]))

    @property
    def choices(self) -> list[int]:
        """Values that each gene takes."""
        places = [len(self.problem.space.grids[member]) for member in self.members]
        return [*places, *[2] * sum(self._sizes)]

    @property
    def _sizes(self) -> list[int]:
        return [self.problem.space.groups[member].width for member in self.members]

    def decode(self, genomes: Genomes) -> tuple[list[Bools], Widths]:
        """Masks per member group, each (P, C), and the widths of all groups, (P, G)."""
        count = len(self.members)
        widths = self._placed(genomes[:, :count])
        bits = np.split(genomes[:, count:], np.cumsum(self._sizes)[:-1], 1)
        ranked = zip(self.members, bits, self._saliency(0), strict=True)
        return [_first(b, s, widths[:, m]) for m, b, s in ranked], widths

    def encode(self, masks: Sequence[Bools]) -> Genomes:
        """Genomes that decode to these masks of the member groups, each (P, C)."""
        grids = [self.problem.space.grids[member] for member in self.members]
        places = [np.searchsorted(g, m.sum(1)) for g, m in zip(grids, masks, strict=True)]
        return np.concatenate([np.stack(places, 1), *masks], 1).astype(np.int64)

    def repair(self, genomes: Genomes) -> Genomes:
        """Genomes within the budget, one for each mask, so that equals are known as such.

        What breaks the budget gives up the same part of its width, in places on the grid, in
        every group; the largest that keeps it, nothing but the smallest widths where none does.
        """
        count = len(self.members)
        parts = np.linspace(1.0, 0.0, _PARTS)[:, None, None]
        # (parts, 1, 1) times places (P, members) -> tried (parts, P, members)
        tried = np.floor(parts * genomes[:, :count] + 1e-9).astype(np.int64)
        excess = self._violation(self._placed(tried.reshape(-1, count))).reshape(_PARTS, -1)
        excess[-1] = 0.0
        largest = (excess == 0).argmax(0)  # (P,)
        places = tried[largest, np.arange(len(genomes))]
        return self.encode(self.decode(np.concatenate([places, genomes[:, count:]], 1))[0])

    def objectives(self, genomes: Genomes) -> Objectives:
        """Damage and predicted cost, both minimised; violation of the budget.

        What saves more than this sub-network's share of the budget counts as no cheaper. The
        cost is the mean over those of latency, MACs and params with a limit, else latency.

        Values are (P, 2) and the summed relative violation (P,): of the budget even with all that
        is ahead at its smallest, and in the last round of the share.
        """
        masks, widths = self.decode(genomes)
        violation = self._violation(widths)
        budget = self.limits.vector()
        limited = np.isfinite(budget) if self.limits.bind() else np.array([True, False, False])
        floors = np.where(np.isfinite(self.asked), self.asked, 0.0)
        cost = np.maximum(self.problem.costs.ratios(widths), floors)[:, limited].mean(1)
        # Of what breaks the budget only the violation counts: no pass is spent on it.
        lost = [0.0 if v > 0 else self._lost(i, masks) for i, v in enumerate(violation)]
        return Objectives(np.stack([np.array(lost), cost], 1), violation)

    def seeds(self, settings: Settings) -> Genomes:
        """The smallest widths, the present ones, all, and random widths under each criterion."""
        generator = np.random.default_rng(settings.seed)
        grids = [self.problem.space.grids[member] for member in self.members]
        smallest = np.zeros((1, len(self.choices)), np.int64)  # places and bits all 0
        present = self.encode([self.standing[member].numpy()[None] for member in self.members])
        full = np.array([[len(grid) - 1 for grid in grids] + [1] * sum(self._sizes)])  # (1, genes)
        drawn = []
        for number in range(max(0, settings.population - 3)):
            widths = [np.array([generator.choice(grid)]) for grid in grids]
            order = self._saliency(number)
            none = [np.zeros((1, size), np.int64) for size in self._sizes]
            drawn.append(self.encode([*map(_first, none, order, widths)]))
        return np.concatenate([smallest, present, full, *drawn])

    def compromise(self, front: Front) -> tuple[Masks, float]:
        """Masks of all groups at the knee of a front, and their damage.

        Where the network answers nothing but NaN, the smallest widths: they keep the budget.
        """
        at = knee(front.values)
        sound = bool(np.isfinite(front.violation[at]))
        genome = front.genomes[at : at + 1] if sound else np.zeros_like(front.genomes[:1])
        masks = list(self.standing)
        for member, mask in zip(self.members, self.decode(genome)[0], strict=True):
            masks[member] = torch.from_numpy(mask[0])
        return tuple(masks), float(front.values[at, 0]) if sound else float("nan")

    @cached_property
    def asked(self) -> Floats:
        """Cost shares that this sub-network must reach, infinite where there is no limit, (3,)."""
        problem = self.problem
        widths, ahead = widths_of(self.standing), list(self.parts[self.number :])
        limits = self.limits.vector()
        return stage_limits(problem.space, problem.costs, widths, ahead, limits)

    def _placed(self, places: Ints) -> Widths:
        """Widths of all groups, (P, G), with the members at these places of their grids."""
        space = self.problem.space
        widths = np.repeat(widths_of(self.standing)[None], len(places), 0)
        for column, member in enumerate(self.members):
            widths[:, member] = np.asarray(space.grids[member])[places[:, column]]
        return space.settle(widths)

    def _violation(self, widths: Widths) -> Floats:
        """Violation of the budget with all ahead at its smallest, at last of the share, (P,)."""
        costs = self.problem.costs
        least = costs.ratios(narrowed(self.problem.space, widths, self.ahead))  # (P, 3)
        excess = over(least, self.limits.vector())
        if self.last:
            excess += over(costs.ratios(widths), self.asked)
        return np.asarray(excess.sum(1))

    def _saliency(self, number: int) -> list[Floats]:
        every = list(self.problem.criteria.values())
        chosen = every[number % len(every)]
        return [chosen[member].double().cpu().numpy() for member in self.members]

    def _lost(self, row: int, masks: Sequence[Bools]) -> float:
        every = list(self.standing)
        for member, mask in zip(self.members, masks, strict=True):
            every[member] = torch.from_numpy(mask[row])  # (C,)
        return self.damage(tuple(every))


def _first(bits: Ints, saliency: Floats, widths: Ints) -> Bools:
    """The set bits first, the most salient first among them, as many as ``widths`` (P,) say."""
    order = np.argsort(-saliency, kind="stable")  # (C,)
    turn = np.argsort(-bits[:, order], axis=1, kind="stable")  # (P, C), places in ``order``
    mask = np.zeros(bits.shape, np.bool_)
    taken = np.arange(bits.shape[1])[None] < widths[:, None]
    np.put_along_axis(mask, order[turn], taken, 1)
    return mask


def widths_of(masks: Masks) -> Widths:
    """Number of channels that each mask keeps, shape (G,)."""
    return np.array([int(mask.sum()) for mask in masks], np.int64)
