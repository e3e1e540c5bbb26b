"""Functional layers of a traced graph turned into the torch.nn layers that they compute.

``F.conv2d(x, weight, ...)`` on tensors that do not depend on the input becomes a ``nn.Conv2d`` of
the same answer, so that one set of rules, costs and exports serves both. Its weight is the
module's own parameter, or, where it is an expression of parameters (weight standardisation,
spectral norm, learned gains), what the expression comes to: removing channels would change it.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from edgeprune.prune.tracing.constants import Constants, nodes_in
from edgeprune.prune.tracing.layer_makers import Arguments, maker_of
from edgeprune.prune.tracing.operations import operation

_OF_SIZES = "getattr size dim getitem eq ne lt le gt ge add sub mul floordiv mod"
"""Operators on sizes that nothing but their result can be read of."""
_LIVE = "training"
"""The argument that follows train() and eval(), as the layers of torch.nn do by themselves."""


def to_layers(graph: fx.GraphModule) -> None:
    """Replace functional layers by torch.nn layers, in place; what cannot be replaced stays.

    Layers whose weight a hook of torch.nn.utils computes become plain ones. Assertions, which
    held for the example, are left out: they may speak of channels that are removed.

    Args:
        graph: A traced model in evaluation mode that was run once; ``node.meta`` is kept.
    """
    constants = Constants(graph)
    for node in graph.graph.find_nodes(op="call_function", target=torch._assert):
        graph.graph.erase_node(node)
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and maker_of(node.target):
            _replace(graph, node, constants)
        elif node.op == "call_module":
            _settle(graph, str(node.target))
    for node in graph.graph.find_nodes(op="call_function", target=F.scaled_dot_product_attention):
        _pin_scale(node)
    constants.erase_unused()
    _erase_unread_sizes(graph.graph)
    graph.delete_all_unused_submodules()
    graph.recompile()


def _erase_unread_sizes(graph: fx.Graph) -> None:
    """Erase sizes that only assertions compared, so that no branch seems to be read elsewhere."""
    for node in reversed(list(graph.nodes)):
        plain = "tensor_meta" not in node.meta and node.op in ("call_function", "call_method")
        if plain and not node.users and operation(node) in _OF_SIZES.split():
            graph.erase_node(node)


def _pin_scale(node: fx.Node) -> None:
    """Attention divides by the root of the number of channels: that of the dense network stays."""
    query = node.args[0] if node.args else None
    if len(node.args) < 7 and node.kwargs.get("scale") is None and isinstance(query, fx.Node):
        width = query.meta["tensor_meta"].shape[-1]
        node.kwargs = {**node.kwargs, "scale": float(width) ** -0.5}


def _replace(graph: fx.GraphModule, node: fx.Node, constants: Constants) -> None:
    names, make = maker_of(node.target) or ((), None)
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    source = given.pop("input", None)
    if _is_live(given.get(_LIVE)):
        del given[_LIVE]
    if not isinstance(source, fx.Node) or constants.has(source) or not constants.has(given):
        return
    with graph.graph.inserting_before(node):
        source = _padded_apart(graph.graph, source, given)
        values = {name: constants.tensor(value) for name, value in given.items()}
        layer = make(Arguments(values, len(source.meta["tensor_meta"].shape))) if make else None
        if layer is None:
            return
        new = graph.graph.create_node("call_module", "", (source,), name=node.name)
    sources = [str(read.target) for read in constants.sources(list(given.values()))]
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    constants.erase_unused()
    new.target = _place(graph, sources, layer)


def _is_live(argument: Any) -> bool:
    return isinstance(argument, fx.Node) and argument.target == _LIVE


def _padded_apart(graph: fx.Graph, source: fx.Node, given: dict[str, Any]) -> fx.Node:
    """Padding that is computed from sizes as a node of its own, so that it still is."""
    padding = given.get("padding")
    if not nodes_in(padding) or not isinstance(padding, (tuple, list)):
        return source
    amounts = tuple(p for side in reversed(padding) for p in (side, side))
    padded = graph.call_function(F.pad, (source, amounts))
    meta: TensorMetadata = source.meta["tensor_meta"]
    sides = [int(side.meta["value"]) if isinstance(side, fx.Node) else side for side in padding]
    first = len(meta.shape) - len(sides)
    shape = [n + 2 * sides[i - first] if i >= first else n for i, n in enumerate(meta.shape)]
    padded.meta = dict(source.meta)
    padded.meta["tensor_meta"] = padded.meta["value"] = meta._replace(shape=torch.Size(shape))
    given["padding"] = 0
    return padded


def _place(graph: fx.GraphModule, sources: Sequence[str], layer: nn.Module) -> str:
    """Put a layer where the tensors that it was made of lie; the name that it got.

    It takes the place of their module where nothing else does, so that names stay.
    """
    owner = min((_owner(name) for name in sources), key=len, default="")
    if owner and all(_owner(name).startswith(owner) for name in sources):
        module = graph.get_submodule(owner)
        if _equal(module, layer):
            return owner
        if _is_free(graph, owner, layer):
            for name, child in module.named_children():
                layer.add_module(name, child)
            graph.set_submodule(owner, layer)
            return owner
    base = f"{sources[0] if sources else 'weightless'}_layer"
    number = 1
    while True:
        name = base if number == 1 else f"{base}{number}"
        path, _, last = name.rpartition(".")
        held = getattr(graph.get_submodule(path), last, None)
        if held is None:
            graph.get_submodule(path).add_module(last, layer)
            return name
        if _equal(held, layer):
            return name
        number += 1


def _owner(tensor: str) -> str:
    return (
        tensor.split(".parametrizations.")[0]
        if ".parametrizations." in tensor
        else (tensor.rpartition(".")[0])
    )


def _equal(held: Any, layer: nn.Module) -> bool:
    """Whether a module is a layer that holds the same tensors and does the same with them."""
    if type(held) is not type(layer) or held.extra_repr() != layer.extra_repr():
        return False
    names = {*layer._parameters, *layer._buffers} - {"num_batches_tracked"}
    return all(getattr(held, name, None) is getattr(layer, name) for name in names)


def _is_free(graph: fx.GraphModule, owner: str, layer: nn.Module) -> bool:
    """Whether no node calls a module of this name, or reads a tensor that the layer lacks."""
    for node in graph.graph.nodes:
        target = str(node.target)
        if node.op == "call_module" and target == owner:
            return False
        if node.op == "get_attr" and target.rpartition(".")[0] == owner:
            last = target.rpartition(".")[2]
            if getattr(layer, last, None) is not attrgetter(target)(graph):
                return False
    return True


_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)


def _settle(graph: fx.GraphModule, name: str) -> None:
    """A layer whose weight is computed by hooks of torch.nn.utils as a plain one."""
    module: Any = graph.get_submodule(name)
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    if not hooks or not all(isinstance(hook, _HOOKS) for hook in hooks):
        return
    kind: Any = type(module)
    plain = kind.__new__(kind)
    plain.__dict__.update(module.__dict__)
    plain._forward_pre_hooks = type(module._forward_pre_hooks)()
    made = {str(getattr(h, "name", getattr(h, "_tensor_name", ""))) for h in hooks}
    kept: Mapping[str, Tensor | None] = module._parameters
    plain._parameters = {name: tensor for name, tensor in kept.items() if not _serves(name, made)}
    plain._buffers = {
        name: tensor for name, tensor in module._buffers.items() if not _serves(name, made)
    }
    for each in made:
        value = getattr(module, each).detach().clone()  # as the run of the graph left it
        plain.__dict__.pop(each, None)
        plain.register_parameter(each, nn.Parameter(value))
    graph.set_submodule(name, plain)


def _serves(name: str, made: set[str]) -> bool:
    """Whether a tensor is one that a hook computes another from: weight_g, weight_orig."""
    return any(name.startswith(f"{each}_") for each in made)
