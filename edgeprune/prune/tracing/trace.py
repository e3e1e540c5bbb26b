"""Trace of a model: its channel groups, droppable branches and the slices that channels own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, fx, nn

from edgeprune.arrays import Ints
from edgeprune.prune.tracing import function_rules, module_rules
from edgeprune.prune.tracing.fx_graph import UntraceableError, symbolic_graph
from edgeprune.prune.tracing.grouping import Classes, classify, names, stages
from edgeprune.prune.tracing.operations import operation
from edgeprune.prune.tracing.propagation import Propagation, Rule, Unfollowed
from edgeprune.prune.tracing.residual import Block, find_blocks


@dataclass(frozen=True)
class TensorSlice:
    """What the channels of a group own of one parameter or buffer.

    Attributes:
        tensor: Name in the state_dict, such as ``layer1.0.conv1.weight``.
        axis: Axis that is sliced.
        positions: Indices on that axis, int64, shape (width, k): row i belongs to channel i.
    """

    tensor: str
    axis: int
    positions: Ints


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that are pruned together, interchangeable among each other.

    Attributes:
        name: Unique: the layer that makes the channels, or the path of a residual stream.
        width: Number of channels; one may own several positions of a tensor.
        stage: 0 for the stem and the first resolution, counted up with each downsampling.
        block: The residual branch the group lies inside, None outside of all.
        droppable: Whether width 0 is allowed; it drops the whole branch ``block``.
        slices: Everything the channels own.
    """

    name: str
    width: int
    stage: int
    block: str | None
    droppable: bool
    slices: tuple[TensorSlice, ...]


@dataclass(frozen=True)
class Width:
    """Channels of a tensor as a linear function of the widths of the groups.

    Attributes:
        fixed: Channels that are never pruned.
        terms: Pairs (group index, channels of the tensor per channel of that group).
    """

    fixed: int
    terms: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """Which group every position of a channel axis belongs to.

    Attributes:
        axis: The axis.
        group: Group index per position, -1 where nothing is pruned, shape (positions,).
        member: Channel of that group per position, shape (positions,).
    """

    axis: int
    group: Ints
    member: Ints

    def width(self) -> Width:
        """The number of positions in terms of the groups' widths."""
        indices, first = np.unique(self.group, return_index=True)
        terms = []
        for index, at in zip(indices, first, strict=True):
            if index >= 0:
                per_channel = int(np.sum((self.group == index) & (self.member == self.member[at])))
                terms.append((int(index), per_channel))
        return Width(int(np.sum(self.group < 0)), tuple(terms))


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A model with the channels of each of its tensors.

    Attributes:
        model: The model that was traced, untouched.
        graph: Its graph; parameters are shared with the model, shapes are in
            ``node.meta["tensor_meta"]``.
        groups: All channel groups, in the order of the network.
        blocks: Residual branches that can be dropped, with the nodes that vanish.
        unfollowed: Where channels were kept for want of a rule.
        layouts: Channel layout of every node with a channel axis that can be pruned.
        tensors: The same for parameters and buffers, by (name, axis).
    """

    model: nn.Module
    graph: fx.GraphModule
    groups: tuple[ChannelGroup, ...]
    blocks: tuple[Block, ...]
    unfollowed: tuple[Unfollowed, ...]
    layouts: Mapping[fx.Node, Layout]
    tensors: Mapping[tuple[str, int], Layout]

    def width_of(self, node: fx.Node) -> Width:
        """Width of the channel axis of a node's output.

        Axis 1 is meant where nothing of the tensor can be pruned.
        """
        if node in self.layouts:
            return self.layouts[node].width()
        shape = node.meta["tensor_meta"].shape
        return Width(int(shape[1]) if len(shape) > 1 else 1, ())

    def index(self, name: str) -> int:
        """Place of the group called ``name`` in ``groups``."""
        return next(i for i, group in enumerate(self.groups) if group.name == name)


def trace(model: nn.Module, example: Tensor, *, whole: Collection[str] = ()) -> Trace:
    """Propagate the channels of every tensor through a model, and group them.

    Any model is accepted: what cannot be followed keeps all its channels and is listed in
    ``unfollowed``; a model that cannot be traced at all has no groups. channels.md says
    what is followed.

    Args:
        model: A module with one tensor input, on any device; not modified.
        example: An input, batch first, same device and dtype as the model.
        whole: Names of groups, as a trace without this argument names them, to keep whole.

    Raises:
        InputError: the model does not accept ``example``.
    """
    try:
        graph, opaque = symbolic_graph(model, example, module_rules.is_layer)
    except UntraceableError as error:
        return _untraced(model, Unfollowed("(model)", error.source, f"cannot be traced: {error}"))
    propagation = Propagation(graph, _rule_of, function_rules.only_elementwise, opaque)
    propagation.run()
    classes = classify(propagation.coupling, propagation.flows, propagation.tensors.values())
    blocks = find_blocks(graph, _is_addition, classes.carriers)
    if whole:
        named = names(graph, classes.carriers, blocks)
        chosen = [index for index, name in enumerate(named) if name in whole]
        propagation.coupling.freeze(np.flatnonzero(np.isin(classes.group, chosen)))
        classes = classify(propagation.coupling, propagation.flows, propagation.tensors.values())
        blocks = find_blocks(graph, _is_addition, classes.carriers)
    tensors = {
        key: _layout(propagation, classes, key[1], ids) for key, ids in propagation.tensors.items()
    }
    layouts = {
        node: _layout(propagation, classes, flow.axis, flow.ids)
        for node, flow in propagation.flows.items()
        if flow.axis is not None
    }
    groups = _groups(propagation, classes, blocks, graph, tensors)
    return Trace(
        model=model,
        graph=graph,
        groups=groups,
        blocks=blocks,
        unfollowed=tuple(propagation.unfollowed),
        layouts=layouts,
        tensors=tensors,
    )


def _rule_of(node: fx.Node, module: nn.Module | None) -> tuple[str, Rule | None]:
    if module is not None:
        return type(module).__name__, module_rules.rule_for(module)
    return function_rules.rule_for(node)


def _is_addition(node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method") or len(node.all_input_nodes) != 2:
        return False
    shapes = {_shape(n) for n in [node, *node.all_input_nodes]}
    return operation(node) == "add" and len(shapes) == 1 and not node.kwargs


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    shape = getattr(node.meta.get("tensor_meta"), "shape", None)
    return None if shape is None else tuple(shape)


def _layout(propagation: Propagation, classes: Classes, axis: int, ids: Ints) -> Layout:
    roots = propagation.coupling.roots(ids)
    return Layout(axis, classes.group[roots], classes.member[roots])


def _groups(
    propagation: Propagation,
    classes: Classes,
    blocks: tuple[Block, ...],
    graph: fx.GraphModule,
    tensors: Mapping[tuple[str, int], Layout],
) -> tuple[ChannelGroup, ...]:
    owned: list[list[TensorSlice]] = [[] for _ in classes.carriers]
    for (name, axis), layout in tensors.items():
        for index in np.unique(layout.group[layout.group >= 0]):
            owned[index].append(_slice(name, axis, layout, int(index)))
    inside = {index: block.name for block in blocks for index in block.groups}
    named = names(graph, classes.carriers, blocks)
    staged = stages(classes.carriers, propagation.flows, blocks)
    widths = np.bincount(classes.group[classes.group >= 0], minlength=len(named))
    return tuple(
        ChannelGroup(
            name=named[i],
            width=int(widths[i]),
            stage=staged[i],
            block=inside.get(i),
            droppable=i in inside,
            slices=tuple(s),
        )
        for i, s in enumerate(owned)
    )


def _slice(name: str, axis: int, layout: Layout, index: int) -> TensorSlice:
    at = np.flatnonzero(layout.group == index)  # positions of the group, (width * k,)
    at = at[np.argsort(layout.member[at], kind="stable")]
    width = int(layout.member[at].max()) + 1
    return TensorSlice(name, axis, at.reshape(width, -1))


def _untraced(model: nn.Module, why: Unfollowed) -> Trace:
    empty = fx.GraphModule(nn.Module(), fx.Graph())
    return Trace(
        model=model, graph=empty, groups=(), blocks=(), unfollowed=(why,), layouts={}, tensors={}
    )
