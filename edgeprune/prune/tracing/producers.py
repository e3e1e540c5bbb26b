"""Producers of a channel group: the layers that make its channels, up to their ReLU."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.tracing.operations import operation
from edgeprune.prune.tracing.trace import ChannelGroup, TensorSlice, Trace

_RELU = frozenset({"relu", "relu6", "hardswish", "silu", "gelu"})


@dataclass(frozen=True)
class Producer:
    """A layer whose output channels are those of a group.

    Attributes:
        module: Name of the BatchNorm layer, or of the layer with weights where none follows.
        node: Node of the traced graph that returns these channels after addition and ReLU.
        positions: Channels of that node owned by each channel of the group, (width, k), int64.
    """

    module: str
    node: fx.Node
    positions: Tensor


def producers(trace: Trace, group: ChannelGroup) -> tuple[Producer, ...]:
    """The producers of a group, in the order of the graph, at least one.

    There is one for a branch, and one per addition for a residual stream.

    Raises:
        InputError: No layer of its own makes the channels.
    """
    layers = producing_layers(trace.graph, group)
    norms = [pair for pair in layers if isinstance(pair[0], nn.modules.batchnorm._BatchNorm)]
    owned = {part.tensor.rpartition(".")[0]: part for _, part in norms or layers}
    found = tuple(
        Producer(
            module=str(node.target),
            node=_settled(node),
            positions=torch.from_numpy(owned[str(node.target)].positions),
        )
        for node in trace.graph.graph.nodes
        if node.op == "call_module" and node.target in owned
    )
    if not found:
        raise InputError(f"no layer makes the channels of group {group.name}; it cannot be ranked")
    return found


def producing_layers(
    graph: fx.GraphModule, group: ChannelGroup
) -> tuple[tuple[nn.Module, TensorSlice], ...]:
    """Layers that make a group's channels, with the slice of their weight.

    The frozen 0/1 shortcuts are left out: they only pass on what others made.
    """
    found = []
    for part in group.slices:
        owner, _, attribute = part.tensor.rpartition(".")
        module = graph.get_submodule(owner)
        out_axis = 1 if getattr(module, "transposed", False) else 0
        makes = attribute == "weight" and part.axis == out_axis
        if makes and not isinstance(module, ZeroPadShortcut):
            found.append((module, part))
    return tuple(found)


def _settled(node: fx.Node) -> fx.Node:
    """Follow a layer's output through addition up to and including its ReLU."""
    while len(node.users) == 1:
        user = next(iter(node.users))
        name = operation(user)
        if name in _RELU:
            return user
        if name != "add":
            break
        node = user
    return node
