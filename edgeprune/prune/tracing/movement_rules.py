"""Propagation rules of operators that only move elements: views, slices, joins, pads.

Such an operator does to the channel ids what it does to the elements, so most rules run it on
the ids themselves.
"""

from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from edgeprune.prune.tracing.calls import Call, CannotFollowError, Plain, Value, leaves, plain
from edgeprune.prune.tracing.coupling import Flow, fixed, settle
from edgeprune.prune.tracing.propagation import Propagation, Rule


def move(propagation: Propagation, call: Call) -> Value:
    """Run the operator on the ids of its one tensor."""
    flows = [v for v in leaves((call.args, call.kwargs)) if isinstance(v, Flow)]
    if not flows:
        return Plain(call.node.meta["value"])
    if len(flows) > 1:
        raise CannotFollowError(f"{call.name} takes a second tensor")
    if flows[0].axis is None:
        return _untouched(call)
    args = tuple(plain(a) for a in call.args)
    kwargs = {key: plain(value) for key, value in call.kwargs.items()}
    target: Any = call.node.target
    if call.node.op == "call_module":
        moved = cast("nn.Module", call.module)(*args, **kwargs)
    elif call.node.op == "call_method":
        # Ids are spread without copies, so a view of them may have to become a copy.
        method = "reshape" if target == "view" else target
        moved = getattr(args[0], method)(*args[1:], **kwargs)
    else:
        moved = target(*args, **kwargs)
    parts = (moved,) if isinstance(moved, Tensor) else moved
    settled = tuple(settle(part, propagation.coupling) for part in parts)
    if any(part.axis == 0 for part in settled):
        raise CannotFollowError(f"{call.name} moves channels to the batch axis")
    return settled[0] if isinstance(moved, Tensor) else settled


def _untouched(call: Call) -> Value:
    meta = call.node.meta["tensor_meta"]
    if hasattr(meta, "memory_format"):
        return fixed(meta.shape)
    return tuple(fixed(part.shape) for part in meta)


def _shaped_as(propagation: Propagation, call: Call) -> Value:
    """A view in the shape of another tensor, whose channels must then stay or go with its own."""
    flow, other = call.flow(), call.args[1]
    if flow.axis is None and other.axis is None:
        return fixed(call.shape)
    moved = settle(flow.spread().reshape(call.shape), propagation.coupling, (other.axis,))
    if moved.axis is None or moved.axis == 0 or other.axis not in (None, moved.axis):
        raise CannotFollowError(f"{call.name} meets channels on different axes")
    propagation.coupling.join(moved.ids, other.along(moved.axis))
    return moved


def _index(propagation: Propagation, call: Call) -> Value:
    """Only integers, slices, None, Ellipsis and one list; an index tensor is not followed."""
    parts = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    for part in parts:
        listed = isinstance(part, list) and all(type(n) is int for n in part)
        # Beside a list a number is an index array too, and moves the axes about.
        alone = all(p is part or p is None or p is ... or isinstance(p, slice) for p in parts)
        plain_part = part is None or part is ... or isinstance(part, (int, slice, Plain))
        if not (plain_part or (listed and alone)):
            raise CannotFollowError("indexing with a tensor, or with a list beside other indices")
    return move(propagation, call)


def _not_along_channels(propagation: Propagation, call: Call) -> Value:
    flow = call.flow()
    dims = call.value(1, "dims" if call.name == "flip" else "dim", 0)
    axes = {d % len(flow.shape) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))}
    if flow.axis in axes:
        raise CannotFollowError(f"{call.name} along the channel axis")
    return move(propagation, call)


def _channel_shuffle(propagation: Propagation, call: Call) -> Value:
    """Needs equally many channels in each of its groups: the same positions stay in all."""
    flow = call.flow()
    groups = (
        cast("nn.ChannelShuffle", call.module).groups if call.module else call.value(1, "groups")
    )
    if flow.axis is None:
        return flow
    table = flow.ids.reshape(groups, -1)  # (groups, positions in each)
    propagation.coupling.join(table[:1], table)
    return Flow(call.shape, flow.axis, np.ascontiguousarray(table.T).ravel())


def _pixel_shuffle(propagation: Propagation, call: Call) -> Value:
    """Spreads each run of r * r channels over space: the run stays or goes whole."""
    flow = call.flow()
    if flow.axis is None:
        return fixed(call.shape)
    if flow.axis != len(flow.shape) - 3:
        raise CannotFollowError(f"{call.name} meets channels on axis {flow.axis}")
    runs = flow.ids.reshape(call.shape[flow.axis], -1)  # (channels after, r * r)
    propagation.coupling.join(runs[:, :1], runs)
    return Flow(call.shape, flow.axis, np.ascontiguousarray(runs[:, 0]))


def _cat(propagation: Propagation, call: Call) -> Value:
    flows = call.args[0] if call.args else call.kwargs["tensors"]
    dim = call.value(1, "dim", 0)
    axis = dim % len(call.shape)
    if all(f.axis is None for f in flows):
        return fixed(call.shape)
    if all(f.axis in (None, axis) for f in flows):
        return Flow(call.shape, axis, np.concatenate([f.along(axis) for f in flows]))
    axes = {f.axis for f in flows if f.axis is not None}
    if len(axes) > 1:
        raise CannotFollowError("cat of tensors with channels on different axes")
    carrier = next(f for f in flows if f.axis is not None)
    for other in flows:
        propagation.coupling.join(carrier.ids, other.along(cast("int", carrier.axis)))
    return Flow(call.shape, carrier.axis, carrier.ids)


def _pad(propagation: Propagation, call: Call) -> Value:
    """Channels that padding adds are zero everywhere and may be left out like any other."""
    flow = call.flow()
    amounts = call.value(1, "pad")
    position = 2 * (len(flow.shape) - 1 - flow.axis) if flow.axis is not None else len(amounts)
    if flow.axis is None or position >= len(amounts) or not any(amounts[position : position + 2]):
        return Flow(call.shape, flow.axis, flow.ids)
    if call.value(2, "mode", "constant") != "constant":
        raise CannotFollowError("padding the channel axis with anything but a constant")
    front, back = amounts[position : position + 2]
    if front < 0 or back < 0:
        raise CannotFollowError("negative padding of the channel axis")
    ids = [propagation.coupling.fresh(front), flow.ids, propagation.coupling.fresh(back)]
    return Flow(call.shape, flow.axis, np.concatenate(ids))


MOVEMENTS: dict[str, Rule] = {
    **dict.fromkeys(
        ["view", "reshape", "flatten", "unflatten", "permute", "transpose", "t"], move
    ),
    **dict.fromkeys(["movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "repeat"], move),
    **dict.fromkeys(["view_as", "reshape_as"], _shaped_as),
    "pixel_unshuffle": move,
    "pixel_shuffle": _pixel_shuffle,
    "channel_shuffle": _channel_shuffle,
    **dict.fromkeys(["chunk", "split", "tensor_split", "narrow"], move),
    **dict.fromkeys(["flip", "select", "unbind"], _not_along_channels),
    "getitem": _index,
    "cat": _cat,
    "pad": _pad,
}
"""Rules by the name of the function or method."""
