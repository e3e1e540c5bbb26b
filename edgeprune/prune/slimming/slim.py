"""Structured pruning: a new network without the channels and branches that a plan leaves out."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from edgeprune.errors import InputError
from edgeprune.prune.models.copying import deep_copy
from edgeprune.prune.slimming.constants import fold_into
from edgeprune.prune.slimming.rewriting import Kept, rewrite
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.tracing.module_rules import whole_groups
from edgeprune.prune.tracing.operations import operation
from edgeprune.prune.tracing.residual import Block, changes
from edgeprune.prune.tracing.trace import Layout, Trace, trace


def slim(
    source: nn.Module | Trace,
    plan: PruningPlan,
    example: Tensor | None = None,
    *,
    fold_constants: bool = True,
) -> nn.Module:
    """A new model without the channels and branches that the plan leaves out.

    The state_dict keeps the names of the dense model; dtype, device, memory format,
    ``requires_grad``, buffers and train/eval mode are kept; nothing is shared with the dense
    model. The result equals the dense model with the BatchNorm weights and biases of removed
    channels at zero, plus the constants that could be folded exactly; channels.md says
    which, and what dropping a branch means.

    Args:
        source: The dense model, or its trace.
        plan: What stays.
        example: An input, needed to trace a model.
        fold_constants: Add what removed channels would have sent on as a constant to the
            biases that follow; a model whose weights are loaded next needs none of it.

    Raises:
        InputError: the plan does not fit the model, or ``example`` is missing.
    """
    traced = _traced(source, example)
    kept = Kept(traced, check(plan, traced.groups))
    if not traced.groups:
        return deep_copy(traced.model)
    graph, nodes = _copy_graph(traced)
    dropped = [block for block in traced.blocks if kept.dropped(block)]
    gone = {node for block in dropped for node in block.branch}
    for old, new in nodes.items():
        if old not in gone:
            rewrite(new, old, kept)
    for block in dropped:
        _drop(graph, block, nodes, traced.graph)
    _erase_unread(graph)
    root = _slim_modules(graph, traced, kept)
    model = fx.GraphModule(root, graph, type(traced.model).__name__)
    _take_mode(model, traced.model)
    if fold_constants:
        fold_into(model, traced, kept)
    return model


def _traced(source: nn.Module | Trace, example: Tensor | None) -> Trace:
    if isinstance(source, Trace):
        return source
    if example is None:
        raise InputError("slim needs an example input to trace the model")
    return trace(source, example)


def _copy_graph(traced: Trace) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    nodes: dict[fx.Node, fx.Node] = {}
    graph = fx.Graph()
    result = graph.graph_copy(traced.graph.graph, nodes)
    graph.output(result)
    return graph, nodes


def _drop(
    graph: fx.Graph, block: Block, nodes: Mapping[fx.Node, fx.Node], dense: fx.GraphModule
) -> None:
    """Replace an addition by the side that stays, erase the branch and a ReLU too many."""
    branch = [nodes[n] for n in block.branch]
    join = nodes[block.join]
    (kept,) = (n for n in join.all_input_nodes if n not in branch)
    users = list(join.users)
    join.replace_all_uses_with(kept)
    for node in (join, *reversed(branch)):
        graph.erase_node(node)
    after = users[0] if len(users) == 1 else None
    if after is not None and _is_relu(after, dense) and _is_relu(kept, dense):
        after.replace_all_uses_with(kept)
        graph.erase_node(after)
    elif any(changes(dense, user, kept) for user in users):
        # What follows would write into the side that stays, which autograd or others may need.
        with graph.inserting_after(kept):
            own = graph.call_function(torch.clone, (kept,))
        for user in users:
            user.replace_input_with(kept, own)


def _erase_unread(graph: fx.Graph) -> None:
    """Erase reads of parameters that only dropped branches took part in, such as a LayerScale."""
    for node in reversed(list(graph.nodes)):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)


def _is_relu(node: fx.Node, dense: fx.GraphModule) -> bool:
    """Whether a node is a ReLU, which a second one leaves as it is."""
    name = operation(node, dense)
    return name == "relu" or (name == "identity" and _is_relu(node.all_input_nodes[0], dense))


def _slim_modules(graph: fx.Graph, traced: Trace, kept: Kept) -> nn.Module:
    """A module tree that holds a slim copy of everything the graph refers to."""
    root = nn.Module()
    root.training = traced.model.training
    copies = _Copies(traced, kept)
    for node in graph.nodes:
        if node.op == "call_module":
            _place(root, str(node.target), copies.module(str(node.target)))
        elif node.op == "get_attr" and node.target != "training":
            _place(root, str(node.target), copies.tensor(str(node.target)))
    return root


def _place(root: nn.Module, name: str, value: nn.Module | Tensor) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        root.register_buffer(last, value)
    else:
        setattr(root, last, value)


class _Copies:
    """Slim copies of modules and tensors, each made once, so that what is shared stays so."""

    def __init__(self, traced: Trace, kept: Kept) -> None:
        self._model = traced.graph
        self._kept = kept
        self._memo: dict[int, Any] = {}
        self._axes: dict[str, list[Layout]] = {}
        for (name, _), layout in traced.tensors.items():
            self._axes.setdefault(name, []).append(layout)
        named = [*self._model.named_parameters(), *self._model.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._outputs = {
            str(node.target): (layout.axis, kept.count(layout))
            for node, layout in traced.layouts.items()
            if node.op == "call_module"
        }

    def module(self, name: str) -> nn.Module:
        """The slim copy of a layer."""
        dense = self._model.get_submodule(name)
        if id(dense) not in self._memo:
            for tensor in [*dense.parameters(), *dense.buffers()]:
                self._sliced(tensor)
            slim = deep_copy(dense, self._memo)
            if name in self._outputs:
                _resize(slim, dense, *self._outputs[name])
            elif isinstance(slim, nn.Linear):
                slim.in_features = slim.weight.shape[1]
        found: nn.Module = self._memo[id(dense)]
        return found

    def tensor(self, name: str) -> Tensor:
        """The slim copy of a parameter or buffer that the graph reads by itself."""
        return self._sliced(attrgetter(name)(self._model))

    def _sliced(self, dense: Tensor) -> Tensor:
        if id(dense) not in self._memo:
            self._memo[id(dense)] = self._slice(dense)
        found: Tensor = self._memo[id(dense)]
        return found

    def _slice(self, dense: Tensor) -> Tensor:
        data = dense.detach()
        for layout in self._axes.get(self._names.get(id(dense), ""), []):
            stay = np.flatnonzero(self._kept.positions(layout))
            if len(stay) < data.shape[layout.axis]:
                at = torch.from_numpy(stay).to(data.device)
                data = data.index_select(layout.axis, at)
        fresh = _like(dense, data)
        if isinstance(dense, nn.Parameter):
            return nn.Parameter(fresh, requires_grad=dense.requires_grad)
        return fresh


def _like(dense: Tensor, data: Tensor) -> Tensor:
    """A copy of ``data`` in the memory format of ``dense``."""
    if not dense.is_contiguous():
        for rank, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
            if dense.ndim == rank and dense.is_contiguous(memory_format=layout):
                return data.clone(memory_format=layout)
    return data.clone(memory_format=torch.contiguous_format)


def _resize(slim: nn.Module, dense: nn.Module, axis: int, width: int) -> None:
    """Bring the sizes that a layer keeps beside its tensors up to date.

    ``width`` is what is left of the channel axis of its output.
    """
    layer: Any = slim
    old: Any = dense
    if isinstance(slim, _ConvNd):
        _resize_convolution(layer, old)
    elif isinstance(slim, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(slim, nn.PReLU):
        layer.num_parameters = layer.weight.numel()
    elif isinstance(slim, nn.GroupNorm):
        layer.num_groups = width * old.num_groups // old.num_channels
        layer.num_channels = width
    elif isinstance(slim, nn.Unflatten):
        sizes = list(old.unflattened_size)
        if 0 <= axis - old.dim < len(sizes):
            sizes[axis - old.dim] = width
        layer.unflattened_size = tuple(sizes)
    elif hasattr(slim, "num_features"):
        layer.num_features = width


def _resize_convolution(layer: Any, old: Any) -> None:
    first, second = layer.weight.shape[:2]
    if whole_groups(old):
        layer.groups = first * old.groups // old.weight.shape[0]
    second *= layer.groups
    layer.in_channels, layer.out_channels = (first, second) if old.transposed else (second, first)


def _take_mode(slim: nn.Module, dense: nn.Module) -> None:
    modes = {name: module.training for name, module in dense.named_modules(remove_duplicate=False)}
    for name, module in slim.named_modules(remove_duplicate=False):
        module.training = modes.get(name, dense.training)
