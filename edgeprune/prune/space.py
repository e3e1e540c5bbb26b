"""What a search may choose: the legal widths of every channel group, and what it chose."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from torch import Tensor

from edgeprune.errors import InputError
from edgeprune.prune.channels import ChannelGroup

Widths = NDArray[np.int64]


class PruningPlan(BaseModel):
    """Channels that stay, per group: with a model's name it rebuilds the slim model.

    Attributes:
        schema_: Version of this layout, ``schema`` in JSON.
        model: Name of the dense model.
        kept: Indices that stay, ascending, by group name; none drops the branch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    model: str
    kept: Mapping[str, tuple[Annotated[NonNegativeInt, Field(strict=True)], ...]]

    @classmethod
    def from_plain(cls, content: Any) -> "PruningPlan":
        """Read a plan from plain JSON content.

        Raises:
            InputError: not a plan; the first problem is named.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "plan"
            raise InputError(f"pruning plan: {where}: {first['msg']}") from None

    def to_plain(self) -> dict[str, Any]:
        """Plain JSON content."""
        return self.model_dump(mode="json", by_alias=True)


def kept_by(groups: Iterable[ChannelGroup], masks: Iterable[Tensor]) -> dict[str, tuple[int, ...]]:
    """What masks of channels, each (C,), keep, by group name."""
    return {
        group.name: tuple(mask.nonzero().flatten().tolist())
        for group, mask in zip(groups, masks, strict=True)
    }


@dataclass(frozen=True)
class PruningSpace:
    """All channel groups of a model, each with the widths the device rewards.

    Attributes:
        groups: The groups, G of them.
        grids: For each group its legal widths, ascending, ending in its full width; 0 comes
            first where the group's residual branch may be dropped.
    """

    groups: tuple[ChannelGroup, ...]
    grids: tuple[tuple[int, ...], ...]

    @property
    def full(self) -> Widths:
        """Widths of the dense model, shape (G,)."""
        return np.array([group.width for group in self.groups], np.int64)

    @cached_property
    def _shares_block(self) -> NDArray[np.bool_]:
        blocks = [g.block if g.droppable else None for g in self.groups]
        same = [[a == b and a is not None for b in blocks] for a in blocks]
        return np.array(same, np.bool_).reshape(len(blocks), len(blocks))

    def settle(self, widths: Widths) -> Widths:
        """Width 0 in one group of a branch drops the branch: 0 in all of its groups.

        Args:
            widths: Shape (P, G).
        """
        dropped = (widths == 0) @ self._shares_block
        return np.where(dropped, 0, widths)

    def snap(self, widths: NDArray[Any]) -> Widths:
        """Round every width up to the next legal one, then settle; shape (P, G)."""
        columns = [
            np.asarray(grid)[np.minimum(np.searchsorted(grid, widths[:, i]), len(grid) - 1)]
            for i, grid in enumerate(self.grids)
        ]
        return self.settle(np.stack(columns, 1).astype(np.int64))

    def random(self, count: int, generator: np.random.Generator) -> Widths:
        """``count`` settled width vectors, each width drawn from its grid, shape (P, G)."""
        columns = [generator.choice(grid, count) for grid in self.grids]
        return self.settle(np.stack(columns, 1).astype(np.int64))


def build(groups: Sequence[ChannelGroup], grid: Sequence[int]) -> PruningSpace:
    """Put the device's width grid on every group.

    The grid counts channels of a layer. A channel of a group that owns k channels of a layer
    (grouped convolutions) takes the widths w for which w * k is on the grid.

    Args:
        groups: From ``channels.trace``.
        grid: Widths the device rewards, such as (8, 16, 24, 32); wider ones continue in its
            last step.

    Raises:
        InputError: the grid is empty or holds a width below 1.
    """
    steps = sorted(set(grid))
    if not steps or steps[0] < 1:
        raise InputError(f"a width grid needs widths of at least 1, not {list(grid)}")
    return PruningSpace(tuple(groups), tuple(_legal(group, steps) for group in groups))


def whole(groups: Iterable[ChannelGroup], model: str) -> PruningPlan:
    """The plan that keeps everything."""
    return PruningPlan(model=model, kept={g.name: tuple(range(g.width)) for g in groups})


def check(plan: PruningPlan, groups: Sequence[ChannelGroup]) -> tuple[Widths, ...]:
    """Indices kept per group, ascending; a branch with an emptied group is emptied whole.

    Raises:
        InputError: a group is unknown or missing, an index is out of range or given twice,
            or a group is emptied that must not be; the message names the group.
    """
    names = {group.name for group in groups}
    foreign = [name for name in plan.kept if name not in names]
    if foreign:
        raise InputError(
            f"the plan for {plan.model} names group {foreign[0]!r}, not in this model"
        )
    for group in groups:
        _check_group(plan, group)
    dropped = {g.block for g in groups if g.droppable and not plan.kept[g.name]}
    empty = np.empty(0, np.int64)
    return tuple(
        empty if g.droppable and g.block in dropped else np.sort(np.array(plan.kept[g.name]))
        for g in groups
    )


def _check_group(plan: PruningPlan, group: ChannelGroup) -> None:
    if group.name not in plan.kept:
        raise InputError(f"the plan for {plan.model} lacks group {group.name!r} of this model")
    kept = plan.kept[group.name]
    if len(set(kept)) < len(kept):
        raise InputError(f"the plan keeps a channel of group {group.name!r} twice")
    if kept and max(kept) >= group.width:
        raise InputError(
            f"the plan keeps channel {max(kept)} of group {group.name!r}, "
            f"which has channels 0 to {group.width - 1}"
        )
    if not kept and not group.droppable:
        raise InputError(
            f"the plan keeps nothing of group {group.name!r}, which cannot be dropped"
        )


def _legal(group: ChannelGroup, steps: Sequence[int]) -> tuple[int, ...]:
    share = _channels_per_member(group)
    last = steps[-1]
    step = last - steps[-2] if len(steps) > 1 else last
    beyond = range(last + step, group.width * share, step)
    legal = [c // share for c in (*steps, *beyond) if c % share == 0 and c < group.width * share]
    return (*((0,) if group.droppable else ()), *legal, group.width)


def _channels_per_member(group: ChannelGroup) -> int:
    made = [s.positions.shape[1] for s in group.slices if s.axis == 0]
    return min(made, default=1)
