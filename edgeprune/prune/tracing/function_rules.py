"""Propagation rules of functions and tensor methods: arithmetic, activations, pooling, sizes."""

from typing import Any

import numpy as np
from torch import fx

from edgeprune.arrays import Ints
from edgeprune.prune.tracing.calls import (
    NOTHING,
    Call,
    CannotFollowError,
    Plain,
    Value,
    depends,
    leaves,
)
from edgeprune.prune.tracing.contraction_rules import CONTRACTIONS
from edgeprune.prune.tracing.coupling import Flow, fixed
from edgeprune.prune.tracing.module_rules import over_axis, pooled
from edgeprune.prune.tracing.movement_rules import MOVEMENTS
from edgeprune.prune.tracing.operations import operation
from edgeprune.prune.tracing.propagation import Propagation, Rule


def rule_for(node: fx.Node) -> tuple[str, Rule]:
    """Name and rule of a ``call_function`` or ``call_method`` node."""
    name = operation(node)
    # Arithmetic on sizes needs no rule of its own; a tensor that meets it does.
    return name, _RULES.get(name, _plain_only)


def has_rule(node: fx.Node) -> bool:
    """Whether a tensor that such a node returns can be followed."""
    return rule_for(node)[1] is not _plain_only


def _plain_only(propagation: Propagation, call: Call) -> Value:
    values = (call.args, call.kwargs)
    if any(isinstance(v, Flow) for v in leaves(values)):
        raise CannotFollowError(f"no rule for {call.name}")
    return propagation.unfollowable(call.node, depends(values))


def _unchanged(propagation: Propagation, call: Call) -> Value:
    flow = call.flow()
    propagation.keep_number(call)
    if any(isinstance(v, Flow) for v in leaves((call.args[1:], call.kwargs))):
        raise CannotFollowError(f"{call.name} takes a second tensor")
    return Flow(call.shape, flow.axis, flow.ids)


def _elementwise(propagation: Propagation, call: Call) -> Value:
    values = (call.args, call.kwargs)
    flows = [v for v in leaves(values) if isinstance(v, Flow)]
    if not flows:
        return Plain(call.node.meta["value"], depends(values))
    propagation.keep_number(call)
    carriers = _carriers(propagation, flows)
    if not carriers:
        for other in flows:
            propagation.keep_held(other)
        return fixed(call.shape)
    # Axes are counted from the right, as broadcasting does.
    axes = {(f.axis or 0) - len(f.shape) for f in carriers}
    axis = axes.pop()
    if axes:
        raise CannotFollowError(f"{call.name} meets channels on different axes")
    ids = carriers[0].ids
    for other in flows:
        if other.held:
            _hold(propagation, call, other, axis, ids)
        elif len(other.shape) >= -axis and other.shape[axis] > 1:
            propagation.coupling.join(ids, other.along(len(other.shape) + axis))
    return Flow(call.shape, len(call.shape) + axis, ids)


def _carriers(propagation: Propagation, flows: list[Flow]) -> list[Flow]:
    """Those that have channels; one alone meets all channels of the others, and is kept."""
    for flow in flows:
        if flow.axis is not None and len(flow.ids) == 1:
            propagation.coupling.freeze(flow.ids)
    return [flow for flow in flows if flow.axis is not None and len(flow.ids) > 1]


def _hold(propagation: Propagation, call: Call, held: Flow, axis: int, ids: Ints) -> None:
    """A parameter takes part: on the channel axis it is sliced along, where all its uses allow."""
    for d, size in enumerate(held.shape):
        on_channels = d == len(held.shape) + axis and size > 1
        propagation.own_by_name(
            str(held.held), d, ids if on_channels else np.zeros(size, np.int64)
        )


def only_elementwise(node: fx.Node) -> bool:
    """Whether every use of a parameter is element by element, so that it can be sliced."""
    return all(
        user.op != "call_module" and rule_for(user)[1] is _elementwise for user in node.users
    )


def _reduction(position: int) -> Rule:
    """The rule of means and their like; their axes are the argument at this position."""

    def rule(propagation: Propagation, call: Call) -> Value:
        flow = call.flow()
        dims = call.value(position, "dim")
        if dims is None:
            return over_axis(None, flow, call)
        given = dims if isinstance(dims, (tuple, list)) else (dims,)
        axes = {d % len(flow.shape) for d in given}
        over_axis(tuple(axes), flow, call)
        if flow.axis is None or call.value(position + 1, "keepdim", False):
            return Flow(call.shape, flow.axis, flow.ids)
        return Flow(call.shape, flow.axis - sum(d < flow.axis for d in axes), flow.ids)

    return rule


def _along_dim(propagation: Propagation, call: Call) -> Value:
    return over_axis(call.value(1, "dim"), call.flow(), call)


def _normalize(propagation: Propagation, call: Call) -> Value:
    return over_axis(call.value(2, "dim", 1), call.flow(), call)


def _size(propagation: Propagation, call: Call) -> Value:
    flow = call.flow()
    dim = call.value(1, "dim")
    if dim is None:
        return _shape_of(flow, call.node.meta["value"])
    return Plain(call.node.meta["value"], _depends_on(flow, dim % len(flow.shape)))


def _shape_of(flow: Flow, value: Any) -> Plain:
    parts = tuple(_depends_on(flow, d) for d in range(len(flow.shape)))
    return Plain(value, np.unique(flow.ids), parts)


def _depends_on(flow: Flow, axis: int) -> Ints:
    return np.unique(flow.ids) if axis == flow.axis else NOTHING


def _getattr(propagation: Propagation, call: Call) -> Value:
    value = call.node.meta["value"]
    owner, name = call.args[0], call.args[1]
    if not isinstance(owner, Flow):
        return Plain(value, depends(owner))
    if name == "shape":
        return _shape_of(owner, value)
    if name in ("dtype", "device", "ndim", "requires_grad", "is_cuda", "layout"):
        return Plain(value)
    raise CannotFollowError(f"no rule for attribute {name} of a tensor")


def _about_type(propagation: Propagation, call: Call) -> Value:
    call.flow()
    return Plain(call.node.meta["value"])


def _getitem(propagation: Propagation, call: Call) -> Value:
    (owner, index), value = call.args[:2], call.node.meta["value"]
    if isinstance(owner, Flow):
        return MOVEMENTS["getitem"](propagation, call)
    if not isinstance(owner, Plain):
        part: Value = owner[index]
        return part
    if owner.parts and isinstance(index, int):
        return Plain(value, owner.parts[index])
    if owner.parts and isinstance(index, slice):
        parts = owner.parts[index]
        return Plain(value, np.unique(np.concatenate([NOTHING, *parts])), parts)
    return Plain(value, depends((owner, index)))


_ELEMENTWISE = (
    "add sub mul truediv maximum minimum pow neg abs exp sqrt rsqrt where lerp expand_as eq ne lt "
    "le gt ge"
)
_UNARY = (
    "relu relu6 leaky_relu rrelu elu selu celu gelu silu mish sigmoid logsigmoid tanh hardtanh "
    "hardswish hardsigmoid softplus softsign softshrink hardshrink tanhshrink threshold clamp "
    "clip square erf log log1p reciprocal sign dropout dropout1d dropout2d dropout3d "
    "alpha_dropout feature_dropout feature_alpha_dropout stochastic_depth clone contiguous "
    "detach float double half bfloat16 to cpu cuda"
)
_POOLS = "max_pool{0}d avg_pool{0}d adaptive_avg_pool{0}d adaptive_max_pool{0}d lp_pool{0}d"
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_UNARY.split(), _unchanged),
    **{name: pooled(n) for n in (1, 2, 3) for name in _POOLS.format(n).split()},
    **{"interpolate": pooled(2), "upsample": pooled(2)},
    **dict.fromkeys(["mean", "sum", "amax", "amin"], _reduction(1)),
    "norm": _reduction(2),
    **dict.fromkeys(["softmax", "log_softmax"], _along_dim),
    **{"normalize": _normalize, "size": _size, "getattr": _getattr},
    **dict.fromkeys(["dim", "ndimension", "is_floating_point"], _about_type),
    **MOVEMENTS,
    **CONTRACTIONS,
    "getitem": _getitem,
}
