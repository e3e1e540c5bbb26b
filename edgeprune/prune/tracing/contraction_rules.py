"""Propagation rules of matrix products of activations: matmul, einsum, attention.

Every axis of every operand has a label, as in einsum. Channels on axes of one label are joined;
a label that the result keeps carries them on, one that is summed over does not.
"""

import string
from collections.abc import Sequence

import numpy as np

from edgeprune.arrays import Ints
from edgeprune.prune.tracing.calls import Call, CannotFollowError, Value, depends, leaves
from edgeprune.prune.tracing.coupling import Flow, fixed
from edgeprune.prune.tracing.propagation import Propagation, Rule


def _contract(
    propagation: Propagation, call: Call, flows: Sequence[Flow], labels: Sequence[str], result: str
) -> Value:
    """Join channels label by label; ``labels`` has one letter per axis of each operand.

    Channels that meet an axis without any stay, and so do those on all axes of the result but one.
    """
    carried: dict[str, Ints] = {}
    for flow, axes in zip(flows, labels, strict=True):
        propagation.keep_held(flow)
        if flow.axis is not None:
            known = carried.setdefault(axes[flow.axis], flow.ids)
            propagation.coupling.join(known, flow.ids)
    for flow, axes in zip(flows, labels, strict=True):
        for axis, label in enumerate(axes):
            if label in carried and axis != flow.axis and flow.shape[axis] > 1:
                reason = f"{call.name} with a tensor that keeps all of its channels"
                propagation.keep(call, carried.pop(label), reason)
    left = [label for label in carried if label in result]
    for label in left[1:]:
        reason = f"{call.name} makes a tensor with channels on two axes"
        propagation.keep(call, carried[label], reason)
    if not left:
        return fixed(call.shape)
    return Flow(call.shape, result.index(left[0]), carried[left[0]])


def _flows(propagation: Propagation, call: Call) -> list[Flow]:
    """The operands, which are all that has channels here."""
    found = [value for value in leaves((call.args, call.kwargs)) if isinstance(value, Flow)]
    propagation.keep_number(call)
    return found


def _matmul(propagation: Propagation, call: Call) -> Value:
    left, right = _flows(propagation, call)
    if min(len(left.shape), len(right.shape)) < 2:
        raise CannotFollowError(f"{call.name} with a vector")
    batch = _letters(max(len(left.shape), len(right.shape)) - 2)
    one, other = (batch[len(batch) - len(f.shape) + 2 :] for f in (left, right))
    return _contract(propagation, call, (left, right), (one + "xy", other + "yz"), batch + "xz")


def _letters(count: int) -> str:
    return string.ascii_lowercase[:count]


def _einsum(propagation: Propagation, call: Call) -> Value:
    equation = call.args[0]
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        raise CannotFollowError("einsum of a form that has no rule; write it as 'ab,bc->ac'")
    operands, _, result = equation.replace(" ", "").partition("->")
    labels = operands.split(",")
    if any(len(set(axes)) < len(axes) for axes in labels):
        raise CannotFollowError("einsum along a diagonal")
    return _contract(propagation, call, _flows(propagation, call), labels, result)


def _attention(propagation: Propagation, call: Call) -> Value:
    """Softmax mixes what is attended to, so no channels may lie there."""
    flows = _flows(propagation, call)
    query = flows[0]
    if any(f.axis == len(f.shape) - 2 and f.ids.any() for f in flows):
        raise CannotFollowError("scaled_dot_product_attention along the channel axis")
    batch = _letters(len(query.shape) - 2)
    labels = [batch + "xe", batch + "se", batch + "sv"]
    labels += [(batch + "xs")[-len(mask.shape) :] for mask in flows[3:]]
    return _contract(propagation, call, flows, labels, batch + "xv")


def _stack(propagation: Propagation, call: Call) -> Value:
    """One tensor per place of a new axis; their channels are joined."""
    flows = call.args[0]
    dim = int(call.value(1, "dim", 0)) % len(call.shape)
    carriers = [flow for flow in flows if flow.axis is not None]
    if depends(call.args).size or len({flow.axis for flow in carriers}) > 1:
        raise CannotFollowError("stack of tensors with channels on different axes")
    if not carriers:
        return fixed(call.shape)
    axis = carriers[0].axis or 0
    for flow in flows:
        propagation.keep_held(flow)
        propagation.coupling.join(carriers[0].ids, flow.along(axis))
    return Flow(call.shape, axis + (dim <= axis), np.array(carriers[0].ids))


CONTRACTIONS: dict[str, Rule] = {
    **dict.fromkeys(["matmul", "bmm"], _matmul),
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "stack": _stack,
}
"""Rules by the name of the function or method."""
