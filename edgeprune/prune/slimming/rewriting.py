"""Rewriting of graph nodes that hold sizes (view, split, pad, slice) for the channels left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeprune.arrays import Bools, Ints
from edgeprune.prune.tracing.operations import operation
from edgeprune.prune.tracing.residual import Block
from edgeprune.prune.tracing.trace import Layout, Trace


class Kept:
    """Which channels of a traced dense model stay: those at ``indices``, per group."""

    def __init__(self, traced: Trace, indices: Sequence[Ints]) -> None:
        self._traced = traced
        self._masks = [np.zeros(group.width, np.bool_) for group in traced.groups]
        for mask, stay in zip(self._masks, indices, strict=True):
            mask[stay] = True

    def dropped(self, block: Block) -> bool:
        """Whether the block's branch goes."""
        return not self._masks[block.groups[0]].any()

    def positions(self, layout: Layout) -> Bools:
        """For every position on a channel axis, whether it stays."""
        stay = np.ones(len(layout.group), np.bool_)
        for index in np.unique(layout.group[layout.group >= 0]):
            own = layout.group == index  # (positions,)
            stay[own] = self._masks[index][layout.member[own]]
        return stay

    def count(self, layout: Layout) -> int:
        """Number of positions that stay."""
        return int(self.positions(layout).sum())

    def of(self, node: fx.Node) -> tuple[int | None, Bools]:
        """Channel axis of a node of the dense graph and what stays on it; axis None: all."""
        layout = self._traced.layouts.get(node)
        if layout is None:
            return None, np.empty(0, np.bool_)
        return layout.axis, self.positions(layout)


def rewrite(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    """Adapt a node of the slim graph to that of the dense one; without sizes it stays as it is."""
    if new.op not in ("call_function", "call_method"):
        return
    name = operation(dense)
    if name in _RULES:
        _RULES[name](new, dense, kept)


def _view(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    given: Any = new.args[1:] if len(new.args) > 1 else (_sizes_by_name(new),)
    nested = len(given) == 1 and not isinstance(given[0], int)
    sizes: Any = given[0] if nested else given
    shape = dense.meta["tensor_meta"].shape
    if isinstance(sizes, fx.Node):
        if not _depends(sizes) or len(shape) == 1:
            return
        # The batch is the only size that may differ from the example's.
        sizes = (-1, *(int(size) for size in shape[1:]))
    axis, stay = kept.of(dense)
    fresh: list[Any] = [
        _size(size, int(stay.sum()) if d == axis else int(shape[d]), d == axis)
        for d, size in enumerate(sizes)
    ]
    if (
        axis is not None
        and isinstance(sizes[axis], fx.Node)
        and -1 not in fresh
        and new.target != "expand"
    ):
        # What was read at run time may depend on the image's size too.
        fresh[axis] = -1
    new.args = (_input(new), *([tuple(fresh)] if nested else fresh))
    new.kwargs = {}


def _sizes_by_name(node: fx.Node) -> Any:
    return next(node.kwargs[k] for k in ("shape", "size") if k in node.kwargs)


def _size(size: Any, wanted: int, on_channels: bool) -> Any:
    if isinstance(size, fx.Node):
        return wanted if on_channels or _depends(size) else size
    return wanted if on_channels and size != -1 else size


def _depends(size: fx.Node) -> bool:
    """Whether a size read at run time changes with the channels that stay."""
    return bool(size.meta.get("channel_dependent"))


def _unflatten(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    axis, stay = kept.of(dense)
    shape = dense.meta["tensor_meta"].shape
    first = int(_argument(new, 1, "dim")) % (len(shape) - len(_argument(new, 2, "sizes")) + 1)
    sizes = tuple(
        _size(s, int(stay.sum()) if d == axis else int(shape[d]), d == axis)
        for d, s in enumerate(_argument(new, 2, "sizes"), first)
    )
    new.args, new.kwargs = (new.args[0], first, sizes), {}


def _split(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    """A cut along the channels becomes a split into what is left of each piece."""
    axis, stay = kept.of(dense.all_input_nodes[0])
    if axis is None or not _is_along(axis, dense, _argument(new, 2, "dim")):
        return
    pieces = [piece.shape[axis] for piece in dense.meta["tensor_meta"]]
    borders = np.cumsum(pieces)[:-1]  # first dense channel of every piece but the first
    sizes = [int(piece.sum()) for piece in np.split(stay, borders)]
    new.target = "split" if new.op == "call_method" else torch.split
    new.args, new.kwargs = (new.args[0], sizes, axis), {}


def _is_along(axis: int, dense: fx.Node, dim: int | None) -> bool:
    """Whether an operator whose ``dim`` is 0 by default works along ``axis`` of its input."""
    return int(dim or 0) % len(dense.all_input_nodes[0].meta["tensor_meta"].shape) == axis


def _narrow(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    axis, stay = kept.of(dense.all_input_nodes[0])
    if axis is None or not _is_along(axis, dense, _argument(new, 1, "dim")):
        return
    start = int(_value(_argument(dense, 2, "start"))) % len(stay)
    length = int(_value(_argument(dense, 3, "length")))
    before, inside = stay[:start].sum(), stay[start : start + length].sum()
    new.args, new.kwargs = (new.args[0], axis, int(before), int(inside)), {}


def _getitem(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    source: Any = dense.args[0]
    axis, stay = kept.of(source)
    if axis is None:
        return
    index: Any = dense.args[1]
    index = list(index) if isinstance(index, tuple) else [index]
    place = _place_of(index, axis, len(source.meta["tensor_meta"].shape))
    if place is None:
        return
    fresh = list(new.args[1]) if isinstance(new.args[1], tuple) else [new.args[1]]
    fresh[place] = _remaining(index[place], stay)
    new.args = (new.args[0], tuple(fresh))


def _place_of(index: Sequence[Any], axis: int, rank: int) -> int | None:
    """Which element of an index tuple meets ``axis``; None where an Ellipsis or nothing does."""
    used = sum(part is not None and part is not ... for part in index)
    at = 0
    for place, part in enumerate(index):
        if part is ...:
            at += rank - used
        elif part is not None:
            if at == axis:
                return place
            at += 1
        if at > axis:
            return None
    return None


def _remaining(part: Any, stay: Bools) -> Any:
    """The index that picks, after pruning, what ``part`` picks and stays."""
    where = np.cumsum(stay) - 1  # new position of each dense one that stays, (C,)
    if not isinstance(part, (slice, list)):
        return int(where[int(_value(part))])
    cut: Any = part
    if isinstance(part, slice):
        cut = slice(_value(part.start), _value(part.stop), _value(part.step))
    chosen = np.arange(len(stay))[cut]  # dense positions that the slice or list picks, (k,)
    if len(chosen) == len(stay) and (np.diff(chosen) > 0).all():
        return slice(None)
    left = where[chosen[stay[chosen]]]  # new positions that it picks
    if (np.diff(left) == 1).all():
        return slice(int(left[0]), int(left[-1]) + 1)
    return [int(i) for i in left]


def _pad(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    axis, stay = kept.of(dense)
    if axis is None:
        return
    amounts = [_value(a) for a in _value(_argument(dense, 1, "pad"))]
    position = 2 * (len(dense.meta["tensor_meta"].shape) - 1 - axis)
    if position >= len(amounts):
        return
    front, back = amounts[position : position + 2]
    amounts[position] = int(stay[:front].sum())
    amounts[position + 1] = int(stay[len(stay) - back :].sum())
    rest = {k: v for k, v in new.kwargs.items() if k not in ("input", "pad")}
    new.args, new.kwargs = (_input(new), tuple(amounts), *new.args[2:]), rest


def _input(node: fx.Node) -> Any:
    """The tensor that a node acts on."""
    return node.args[0] if node.args else node.kwargs["input"]


def _squeeze(new: fx.Node, dense: fx.Node, kept: Kept) -> None:
    """Without axes it would also drop a channel axis that pruning has brought down to 1."""
    if len(new.args) > 1 or "dim" in new.kwargs:
        return
    shape = dense.all_input_nodes[0].meta["tensor_meta"].shape
    ones = tuple(d for d, size in enumerate(shape) if size == 1)
    new.args, new.kwargs = (_input(new), ones), {}


def _argument(node: fx.Node, position: int, keyword: str) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(keyword)


def _value(argument: Any) -> Any:
    return argument.meta["value"] if isinstance(argument, fx.Node) else argument


_RULES = {
    **dict.fromkeys(["view", "reshape", "expand"], _view),
    **dict.fromkeys(["chunk", "split", "tensor_split"], _split),
    "unflatten": _unflatten,
    "narrow": _narrow,
    "getitem": _getitem,
    "pad": _pad,
    "squeeze": _squeeze,
}
