"""Chooses the units to time so that every block of a network is known at every width.

Blocks that differ only in the groups they use are one family. A residual block with its branch
dropped is a family of its own, since it is another piece of work.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgeprune.arrays import Ints
from edgeprune.deploy.table.assemble import in_context
from edgeprune.deploy.table.footprint import weights_of
from edgeprune.deploy.table.grid import levels
from edgeprune.deploy.table.network import Block, Network
from edgeprune.deploy.table.surface import Additive, Shape, learn

LEAST_POINTS = 24  # timed width combinations of a family
MOST_POINTS = 40
MOST_CANDIDATES = 3000  # every choice of a point looks at all of them
NOISE_OF_COLD = 0.1  # a first run repeats worse than the fastest of a burst
PIECES = ("in the cache", "more when out of it", "bytes of weights")


@dataclass(frozen=True, kw_only=True)
class Family:
    """Blocks of one signature and the widths they come in.

    Attributes:
        block: One block of the family.
        groups: Its groups, without those of a dropped branch.
        levels: Widths of each of these groups, ascending, without 0.
        dropped: Groups of its branch that are 0 here.
        leads: Whether it is the first block, which reads the network's input.
    """

    block: Block
    groups: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]
    dropped: tuple[int, ...]
    leads: bool

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for families whose blocks cost the same at the same local widths."""
        order = self.block.groups
        dropped = tuple(order.index(group) for group in self.dropped)
        return self.block.signature, self.levels, dropped, self.leads

    @property
    def shape(self) -> Shape:
        """What the time depends on: the pairs of groups that one of its operators joins."""
        full = tuple(widths[-1] for widths in self.levels)
        if self.dropped:
            return Shape(full, tuple(itertools.combinations(range(len(full)), 2)))
        place = {group: position for position, group in enumerate(self.groups)}
        pairs = {tuple(sorted((place[a], place[b]))) for a, b in self.block.joined}
        return Shape(full, tuple(sorted((a, b) for a, b in pairs)))

    @cached_property
    def points(self) -> Ints:
        """Widths (N, D) to time."""
        candidates = self._candidates()
        count = min(MOST_POINTS, max(LEAST_POINTS, sum(map(len, self.levels))))
        return candidates[list(self.shape.most_informative(candidates, count))]

    def _candidates(self) -> Ints:
        sizes = [len(widths) for widths in self.levels]
        total, rng = math.prod(sizes), np.random.default_rng(0)
        if not sizes:
            return np.empty((1, 0), np.int64)
        if total > np.iinfo(np.int64).max:  # a block of dozens of groups: no two draws are alike
            drawn = rng.integers(0, sizes, (MOST_CANDIDATES, len(sizes)))
            ends = np.zeros(len(sizes), np.int64), np.array(sizes) - 1
            indices = tuple(np.vstack([ends[0], drawn, ends[1]]).T)  # D arrays of (N,)
        else:
            places = np.arange(total) if total <= MOST_CANDIDATES else None
            if places is None:
                places = rng.choice(total, MOST_CANDIDATES, replace=False)
                places = np.unique(np.append(places, (0, total - 1)))  # the smallest, the dense
            indices = np.unravel_index(places, sizes)
        columns = [np.array(w)[i] for w, i in zip(self.levels, indices, strict=True)]
        return np.array(columns, np.int64).T

    def at(self, widths: Sequence[int]) -> Block:
        """A block of the family at its local widths (D,)."""
        chosen = dict(zip(self.groups, map(int, widths), strict=True))
        return self.block.at(chosen | dict.fromkeys(self.dropped, 0))

    def units(self) -> dict[str, Block]:
        """What to time, by key: blocks in their context, and their contexts alone."""
        pairs = (self._pair(self.at(point)) for point in self.points)
        return {block.key: block for pair in pairs for block in pair}

    def pieces(self, times: Mapping[str, tuple[float, float]]) -> tuple[Additive, ...]:
        """What a block of the family adds to a network, see :data:`PIECES`.

        ``times`` holds the time of each of :meth:`units`, in the cache and out of it, by key.
        """
        own = np.zeros((len(self.points), 2))  # in the cache and out of it, context taken off
        for row, point in zip(own, self.points, strict=True):
            for sign, block in zip((1, -1), self._pair(self.at(point)), strict=False):
                row += sign * np.array(times[block.key])
        hot, cold = own.T
        return (
            learn(self.shape, self.points, hot),
            learn(self.shape, self.points, cold - hot, NOISE_OF_COLD),
            weights_of(self.block, self.groups),
        )

    def _pair(self, block: Block) -> tuple[Block, ...]:
        """The unit, and what has to be taken off it; nothing where no operator is left."""
        if not block.ops:
            return ()
        if self.leads:
            return (block,)
        nothing = replace(block, ops=(), output=block.input, answers=())
        return in_context(block), in_context(nothing)


def variants(network: Network, grid: Sequence[int]) -> tuple[tuple[Family, ...], ...]:
    """The families of every block, in order; ``grid`` as in :func:`levels`.

    Each has one with its branch, and where that can be dropped one without it.
    """
    droppable = network.droppable

    def family(block: Block, dropped: tuple[int, ...]) -> Family:
        groups = tuple(group for group in block.groups if group not in dropped)
        return Family(
            block=block,
            groups=groups,
            levels=tuple(levels(network, group, grid) for group in groups),
            dropped=dropped,
            leads=block is network.blocks[0],
        )

    branches = [tuple(g for g in block.groups if g in droppable) for block in network.blocks]
    return tuple(
        (family(block, ()), family(block, branch)) if branch else (family(block, ()),)
        for block, branch in zip(network.blocks, branches, strict=True)
    )
