"""Propagation rules of torch.nn layers: convolution, linear, normalisation, pooling."""

from typing import Any, cast

import numpy as np
from torch import nn
from torch.nn.utils import parametrize

from edgeprune.arrays import Ints
from edgeprune.prune.tracing.calls import Call, CannotFollowError
from edgeprune.prune.tracing.coupling import Flow
from edgeprune.prune.tracing.movement_rules import MOVEMENTS
from edgeprune.prune.tracing.propagation import Propagation, Rule


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of a layer, None where there is none.

    A subclass counts as its parent only if it inherits the parent's forward function; a layer
    whose weight is computed by a parametrisation or a hook is not followed.
    """
    if parametrize.is_parametrized(module) or module._forward_pre_hooks or module._forward_hooks:
        return None
    for base in type(module).__mro__:
        if base in _RULES:
            return _RULES[base] if type(module).forward is base.forward else None
    return None


def is_layer(module: nn.Module) -> bool:
    """Whether a module is kept as one node of the graph."""
    return rule_for(module) is not None


def _convolution(propagation: Propagation, call: Call) -> Flow:
    layer = cast("nn.Conv2d", call.module)
    flow = call.flow()
    axis = len(flow.shape) - layer.weight.ndim + 1
    _channels_on(flow, axis, call)
    incoming = flow.along(axis)
    out_axis = 1 if layer.transposed else 0  # a transposed weight is (in, out / groups, ...)
    if layer.groups == 1:
        made = propagation.new_channels(layer.weight, out_axis, layer.out_channels)
        propagation.own(layer.weight, 1 - out_axis, incoming)
        propagation.own(layer.weight, out_axis, made)
    elif whole_groups(layer):
        made = _by_whole_groups(propagation, layer, incoming)
    else:
        made = _by_position(propagation, layer, incoming)
    propagation.own(layer.bias, 0, made)
    return Flow(call.shape, axis, made)


def whole_groups(layer: Any) -> bool:
    """Whether a grouped convolution loses whole groups, else the same positions in each.

    Both keep the groups equally large. The finer of the two is used: with many small groups
    (depthwise, ResNeXt, RegNet) a group is the unit, with few large ones a position is.
    """
    largest = max(layer.in_channels, layer.out_channels) // layer.groups
    return bool(layer.groups >= largest)


def _by_whole_groups(propagation: Propagation, layer: Any, incoming: Ints) -> Ints:
    first_axis = layer.in_channels if layer.transposed else layer.out_channels
    known = propagation.new_channels(layer.weight, 0, first_axis)
    per_group = known.reshape(layer.groups, -1)  # (groups, channels in each)
    propagation.coupling.join(per_group[:, :1], per_group)
    propagation.coupling.join(incoming.reshape(layer.groups, -1), per_group[:, :1])
    propagation.own(layer.weight, 0, known)
    return np.repeat(per_group[:, 0], layer.out_channels // layer.groups)


def _by_position(propagation: Propagation, layer: Any, incoming: Ints) -> Ints:
    per_group = incoming.reshape(layer.groups, -1)  # (groups, positions in each)
    propagation.coupling.join(per_group[:1], per_group)
    if layer.transposed:
        propagation.own(layer.weight, 0, incoming)
        made = propagation.new_channels(layer.weight, 1, layer.out_channels // layer.groups)
        propagation.own(layer.weight, 1, made)
        return np.tile(made, layer.groups)
    propagation.own(layer.weight, 1, per_group[0].copy())
    made = propagation.new_channels(layer.weight, 0, layer.out_channels)
    positions = made.reshape(layer.groups, -1)
    propagation.coupling.join(positions[:1], positions)
    propagation.own(layer.weight, 0, made)
    return made


def _linear(propagation: Propagation, call: Call) -> Flow:
    layer = cast("nn.Linear", call.module)
    flow = call.flow()
    last = len(flow.shape) - 1
    if flow.axis not in (None, last):
        propagation.own(layer.weight, 0, np.zeros(layer.out_features, np.int64))
        propagation.own(layer.weight, 1, np.zeros(layer.in_features, np.int64))
        return Flow(call.shape, flow.axis, flow.ids)
    propagation.own(layer.weight, 1, flow.along(last))
    made = propagation.new_channels(layer.weight, 0, layer.out_features)
    propagation.own(layer.weight, 0, made)
    propagation.own(layer.bias, 0, made)
    return Flow(call.shape, last, made)


def _per_channel(propagation: Propagation, call: Call) -> Flow:
    """Normalisations and activations that treat every channel by itself."""
    flow = call.flow()
    _channels_on(flow, 1, call)
    module = cast("nn.Module", call.module)
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        if tensor.ndim == 1 and len(tensor) == flow.shape[1]:
            propagation.own(tensor, 0, flow.along(1))
    return flow


def _group_norm(propagation: Propagation, call: Call) -> Flow:
    """A group's mean and variance mix its channels, so whole groups stay or go."""
    layer = cast("nn.GroupNorm", call.module)
    flow = call.flow()
    _channels_on(flow, 1, call)
    groups = flow.along(1).reshape(layer.num_groups, -1)  # (groups, channels in each)
    if layer.num_groups == 1:
        raise CannotFollowError("GroupNorm with one group mixes all channels")
    propagation.coupling.join(groups[:, :1], groups)
    return _per_channel(propagation, call)


def _layer_norm(propagation: Propagation, call: Call) -> Flow:
    """Sound where it normalises over axes that hold no channels."""
    layer = cast("nn.LayerNorm", call.module)
    flow = call.flow()
    if flow.axis is not None and flow.axis >= len(flow.shape) - len(layer.normalized_shape):
        raise CannotFollowError("LayerNorm mixes all channels in its mean and variance")
    return flow


def _unchanged(propagation: Propagation, call: Call) -> Flow:
    return call.flow()


def pooled(dimensions: int) -> Rule:
    """The rule of an operator that works on the last ``dimensions`` axes only."""

    def rule(propagation: Propagation, call: Call) -> Flow:
        flow = call.flow()
        if not hasattr(call.node.meta["value"], "memory_format"):
            raise CannotFollowError(f"{call.name} returns several tensors")
        if flow.axis is not None and flow.axis >= len(flow.shape) - dimensions:
            raise CannotFollowError(f"{call.name} acts along the channel axis")
        propagation.keep_number(call)
        return Flow(call.shape, flow.axis, flow.ids)

    return rule


def over_axis(dimension: Any, flow: Flow, call: Call) -> Flow:
    """The rule of softmax and its like: channels must not lie on the axis they mix."""
    axes = dimension if isinstance(dimension, (tuple, list)) else (dimension,)
    mixed = {len(flow.shape) + d if d < 0 else d for d in axes if d is not None}
    if flow.axis is not None and (not mixed or flow.axis in mixed):
        raise CannotFollowError(f"{call.name} mixes all channels")
    return flow


def _softmax(propagation: Propagation, call: Call) -> Flow:
    return over_axis(getattr(call.module, "dim", None), call.flow(), call)


def _channels_on(flow: Flow, axis: int, call: Call) -> None:
    if flow.axis not in (None, axis):
        raise CannotFollowError(f"{call.name} meets channels on axis {flow.axis}, not {axis}")


_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
    *(nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink, nn.Threshold),
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.FeatureAlphaDropout,),
)
_POOLS: dict[int, tuple[type[nn.Module], ...]] = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.ZeroPad1d),
    2: (
        *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d),
        *(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.ZeroPad2d),
        *(nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ConstantPad2d, nn.CircularPad2d),
    ),
    3: (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d),
}
_RULES: dict[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _per_channel),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _per_channel),
    nn.SyncBatchNorm: _per_channel,
    nn.PReLU: _per_channel,
    nn.Linear: _linear,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
    **dict.fromkeys((nn.Flatten, nn.Unflatten, nn.PixelUnshuffle), MOVEMENTS["view"]),
    nn.PixelShuffle: MOVEMENTS["pixel_shuffle"],
    nn.ChannelShuffle: MOVEMENTS["channel_shuffle"],
    **dict.fromkeys(_ACTIVATIONS, _unchanged),
    **{pool: pooled(n) for n, pools in _POOLS.items() for pool in pools},
}
