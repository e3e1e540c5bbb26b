"""The pruning plan: kept channel indices per group, read, written and checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from torch import Tensor

from edgeprune.arrays import Widths
from edgeprune.errors import InputError
from edgeprune.prune.tracing.trace import ChannelGroup
from edgeprune.text import first_problem


class PruningPlan(BaseModel):
    """Channels that stay, per group: with a model's name it rebuilds the slim model.

    Attributes:
        schema_: Version of this layout, ``schema`` in JSON.
        model: Name of the dense model.
        kept: Indices that stay, ascending, by group name; none drops the branch.
        left_whole: Groups that its user left whole, each with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    model: str
    kept: Mapping[str, tuple[Annotated[NonNegativeInt, Field(strict=True)], ...]]
    left_whole: Mapping[str, str] = Field(default_factory=dict)

    @classmethod
    def from_plain(cls, content: Any) -> "PruningPlan":
        """Read a plan from plain JSON content.

        Raises:
            InputError: not a plan; the first problem is named.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            where, words = first_problem(error)
            raise InputError(f"pruning plan: {where or 'plan'}: {words}") from None

    def to_plain(self) -> dict[str, Any]:
        """Plain JSON content."""
        plain = self.model_dump(mode="json", by_alias=True)
        if not self.left_whole:  # earlier versions know no such key
            del plain["left_whole"]
        return plain


def kept_by(groups: Iterable[ChannelGroup], masks: Iterable[Tensor]) -> dict[str, tuple[int, ...]]:
    """What masks of channels, each (C,), keep, by group name."""
    return {
        group.name: tuple(mask.nonzero().flatten().tolist())
        for group, mask in zip(groups, masks, strict=True)
    }


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
