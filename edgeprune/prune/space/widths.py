"""The pruning space: legal widths of every channel group on the device's grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.arrays import Bools, Widths
from edgeprune.errors import InputError
from edgeprune.prune.space.selection import LeftWhole
from edgeprune.prune.tracing.trace import ChannelGroup


@dataclass(frozen=True)
class PruningSpace:
    """All channel groups of a model, each with the widths the device rewards.

    Attributes:
        groups: The groups, G of them.
        grids: For each group its legal widths, ascending, ending in its full width; 0 comes
            first where the group's residual branch may be dropped.
        left: What its user left whole.
    """

    groups: tuple[ChannelGroup, ...]
    grids: tuple[tuple[int, ...], ...]
    left: LeftWhole = field(default_factory=LeftWhole)

    @property
    def full(self) -> Widths:
        """Widths of the dense model, shape (G,)."""
        return np.array([group.width for group in self.groups], np.int64)

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """Group indices of each stage, concrete to abstract."""
        numbers = sorted({group.stage for group in self.groups})
        return tuple(
            tuple(i for i, group in enumerate(self.groups) if group.stage == n) for n in numbers
        )

    @cached_property
    def _shares_block(self) -> Bools:
        blocks = [g.block if g.droppable else None for g in self.groups]
        same = [[a == b and a is not None for b in blocks] for a in blocks]
        return np.array(same, np.bool_).reshape(len(blocks), len(blocks))

    def settle(self, widths: Widths) -> Widths:
        """Widths (P, G) with 0 in all groups of a branch where one of them is 0: it is dropped."""
        dropped = (widths == 0) @ self._shares_block
        return np.where(dropped, 0, widths)

    def snap(self, widths: NDArray[Any]) -> Widths:
        """Round every width up to the next legal one, then settle; shape (P, G)."""
        columns = [
            np.asarray(grid)[np.minimum(np.searchsorted(grid, widths[:, i]), len(grid) - 1)]
            for i, grid in enumerate(self.grids)
        ]
        return self.settle(np.stack(columns, 1).astype(np.int64))


def build(
    groups: Sequence[ChannelGroup], grid: Sequence[int], left: LeftWhole | None = None
) -> PruningSpace:
    """Put the device's width grid on every group.

    The grid counts channels of a layer. A channel of a group that owns k channels of a layer
    (grouped convolutions) takes the widths w for which w * k is on the grid.

    Args:
        groups: Channel groups of a trace.
        grid: Widths the device rewards, such as (8, 16, 24, 32); wider ones continue in its
            last step.
        left: Groups that have their full width alone, and branches that are not dropped.

    Raises:
        InputError: the grid is empty or holds a width below 1.
    """
    steps = sorted(set(grid))
    if not steps or steps[0] < 1:
        raise InputError(f"a width grid needs widths of at least 1, not {list(grid)}")
    left = left or LeftWhole()
    groups = tuple(
        replace(group, droppable=group.droppable and group.block not in left.branches)
        for group in groups
    )
    grids = tuple((g.width,) if g.name in left.groups else _legal(g, steps) for g in groups)
    return PruningSpace(groups, grids, left)


def _legal(group: ChannelGroup, steps: Sequence[int]) -> tuple[int, ...]:
    share = channels_per_member(group)
    last = steps[-1]
    step = last - steps[-2] if len(steps) > 1 else last  # continues the grid behind its last width
    beyond = range(last + step, group.width * share, step)
    legal = [c // share for c in (*steps, *beyond) if c % share == 0 and c < group.width * share]
    if group.droppable:
        legal.insert(0, 0)
    return (*legal, group.width)


def channels_per_member(group: ChannelGroup) -> int:
    """Channels of a layer that one channel of the group owns; the least where layers differ."""
    made = [s.positions.shape[1] for s in group.slices if s.axis == 0]
    return min(made, default=1)
