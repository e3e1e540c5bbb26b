"""Ports: layers and residual additions that read prunable channels, as rows of their input.

A layer sees its input unfolded over its output grid: D rows, channel by channel and tap by tap,
for L positions. A channel of a group owns some of the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from edgeprune.arrays import Ints
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.tracing.module_rules import whole_groups
from edgeprune.prune.tracing.residual import Block
from edgeprune.prune.tracing.trace import Layout, Trace

WIDEST = 2304  # rows of one Gram matrix, 42 MB; wider layers are taken tap by tap


@dataclass(frozen=True)
class Part:
    """Rows of a port that some of its outputs read together; parts are taken as uncorrelated.

    Attributes:
        rows: Rows of the unfolded input, shape (d,), int64.
        outputs: Output channels that read them, shape (o,), int64.
        weight: Weight of those outputs on those rows, shape (o, d), float64, on the CPU.
    """

    rows: Ints
    outputs: Ints
    weight: Tensor


@dataclass(frozen=True, kw_only=True)
class Port:
    """What reads channels: a convolution, a linear layer, or the addition a branch ends in.

    Attributes:
        name: Name of the layer or of the branch.
        node: Its node in the traced graph.
        sources: Nodes it reads: one, or the two sides of an addition, the branch last.
        parts: Rows that are read together.
        group: Group index of each row, -1 where it is never pruned, shape (D,). In an addition
            the rows of the branch have 0, the others -1.
        member: Channel of that group, shape (D,).
    """

    name: str
    node: fx.Node
    sources: tuple[fx.Node, ...]
    parts: tuple[Part, ...]
    group: Ints
    member: Ints


def reader(graph: fx.GraphModule, node: fx.Node) -> Any:
    """The convolution or linear layer that a node calls; None for all else and 0/1 shortcuts."""
    if node.op != "call_module":
        return None
    layer = graph.get_submodule(str(node.target))
    if isinstance(layer, ZeroPadShortcut) or not isinstance(layer, (_ConvNd, nn.Linear)):
        return None
    return layer


def unsolvable(layer: Any, node: fx.Node) -> str:
    """Why a layer has no closed form; empty where it has one."""
    calls = sum(n.op == "call_module" and n.target == node.target for n in node.graph.nodes)
    if calls > 1:
        return "it is called more than once"
    if isinstance(layer, nn.Linear):
        return ""
    if layer.transposed or not isinstance(layer, nn.Conv2d):
        return f"no closed form for {type(layer).__name__}"
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        return f"no closed form for padding {layer.padding!r}, {layer.padding_mode}"
    return ""


def find_ports(trace: Trace) -> tuple[tuple[Port, ...], dict[str, str]]:
    """The layers that read prunable channels, and those left out with the reason."""
    ports, left = [], dict[str, str]()
    for node in trace.graph.graph.nodes:
        layer = reader(trace.graph, node)
        layout = None if layer is None else trace.layouts.get(node.all_input_nodes[0])
        if layout is None or (layout.group < 0).all():
            continue
        reason = _left_out(layer, node, layout)
        port = None if reason else _layer_port(node, layer, layout)
        if port is not None and _is_even(port, trace):
            ports.append(port)
        else:
            left[str(node.target)] = reason or "channels own unequal numbers of its rows"
    return tuple(ports), left


def _is_even(port: Port, trace: Trace) -> bool:
    """Whether in each part all channels of a group own equally many rows."""
    for part in port.parts:
        owner, member = port.group[part.rows], port.member[part.rows]
        for index in np.unique(owner[owner >= 0]):
            width = trace.groups[int(index)].width
            if len(np.unique(np.bincount(member[owner == index], minlength=width))) > 1:
                return False
    return True


def find_additions(trace: Trace) -> tuple[Port, ...]:
    """The additions that droppable branches end in: z = kept side + branch."""
    return tuple(port for block in trace.blocks if (port := _addition(trace, block)) is not None)


def unfolded(port: Port, layer: Any, values: tuple[Tensor, ...]) -> Tensor:
    """What a port reads, shape (N, D, L), from the outputs of its ``sources``."""
    if isinstance(layer, nn.Conv2d):
        assert not isinstance(layer.padding, str)  # unsolvable
        return F.unfold(values[0], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return torch.cat([by_channel(value, channel_axis(layer)) for value in values], 1)


def channel_axis(layer: nn.Module | None) -> int:
    """Channel axis of what a layer, or with None an addition, reads and returns."""
    return -1 if isinstance(layer, nn.Linear) else 1


def by_channel(value: Tensor, axis: int) -> Tensor:
    """A tensor as (N, C, L), its channel axis second and all else but the batch flattened."""
    return value.movedim(axis, 1).flatten(2) if value.ndim > 2 else value[:, :, None]


def _left_out(layer: Any, node: fx.Node, layout: Layout) -> str:
    reason = unsolvable(layer, node)
    if reason:
        return reason
    if getattr(layer, "groups", 1) > 1 and whole_groups(layer):
        return "its groups go as a whole with the channels that they read"
    rank = len(node.all_input_nodes[0].meta["tensor_meta"].shape)
    if isinstance(layer, nn.Linear) and layout.axis != rank - 1:
        return "it does not read along the channels"
    return ""


def _layer_port(node: fx.Node, layer: Any, layout: Layout) -> Port:
    weight = layer.weight.detach().double().cpu().flatten(1)  # (O, C / groups * taps)
    groups = getattr(layer, "groups", 1)
    taps = weight.shape[1] * groups // len(layout.group)
    group, member = np.repeat(layout.group, taps), np.repeat(layout.member, taps)
    rows, outputs = np.arange(len(group)), np.arange(len(weight))
    parts = []
    for its_rows, its_outputs in zip(
        np.split(rows, groups), np.split(outputs, groups), strict=True
    ):
        own = weight[torch.from_numpy(its_outputs)]
        for part in _narrow(its_rows, group, member):
            columns = torch.from_numpy(part - its_rows[0])
            parts.append(Part(part, its_outputs, own[:, columns]))
    return Port(
        name=str(node.target),
        node=node,
        sources=(node.all_input_nodes[0],),
        parts=tuple(parts),
        group=group,
        member=member,
    )


def _narrow(rows: Ints, group: Ints, member: Ints) -> Iterator[Ints]:
    """The rows, cut where they are too many for one Gram matrix.

    Each cut takes one row of every channel: of a convolution one tap, of a linear layer behind
    a flattened map one position. What is correlated over taps is lost, over channels kept.
    """
    if len(rows) <= WIDEST:
        yield rows
        return
    seen: dict[tuple[int, int], int] = {}
    turn = np.empty(len(rows), np.int64)  # which of its channel's rows each one is
    for place, row in enumerate(rows):
        channel = (int(group[row]), int(member[row]) if group[row] >= 0 else place)
        turn[place] = seen.get(channel, 0)
        seen[channel] = turn[place] + 1
    for number in range(int(turn.max()) + 1):
        yield rows[turn == number]


def _addition(trace: Trace, block: Block) -> Port | None:
    shapes = [n.meta["tensor_meta"].shape for n in (block.join, block.kept, block.branch[-1])]
    if len(shapes[0]) not in (2, 4) or len(set(shapes)) > 1:
        return None
    if block.branch[-1] not in block.join.all_input_nodes:
        return None
    width = shapes[0][1]
    eye = torch.eye(width, dtype=torch.float64)
    rows = np.arange(2 * width)
    return Port(
        name=block.name,
        node=block.join,
        sources=(block.kept, block.branch[-1]),
        parts=(Part(rows, np.arange(width), torch.cat([eye, eye], 1)),),
        group=np.repeat([-1, 0], width),
        member=np.zeros(2 * width, np.int64),
    )
