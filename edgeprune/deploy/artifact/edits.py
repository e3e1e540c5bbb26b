"""Edits of an ONNX graph that leave its answers as they are: clutter, pooling, weights, shapes.

Each returns a new model and how much there was to edit; a model is never changed in place.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeprune.deploy.artifact.counting.shapes import types_of
from edgeprune.deploy.artifact.counting.skeleton import subgraphs

Shapes = Mapping[str, tuple[int, ...]]
TINY = np.finfo(np.float32).tiny  # the smallest normal float32; below it a multiplication is slow
IDENTITIES = ("Identity", "Dropout")


def copy_of(proto: Any) -> Any:
    """A copy that can be edited, weights made by Constant nodes as initialisers."""
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    for node in [node for node in copied.graph.node if node.op_type == "Constant"]:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if tensor is not None:
            copied.graph.initializer.add().CopyFrom(tensor)
            copied.graph.initializer[-1].name = node.output[0]
            copied.graph.node.remove(node)
    return copied


def reshaped_weights(proto: Any) -> Any:
    """A copy in which a weight that a Reshape turns into another shape has that shape itself."""
    edited = copy_of(proto)
    weights = {tensor.name: tensor for tensor in edited.graph.initializer}
    for value in edited.graph.input:  # a caller may replace those
        weights.pop(value.name, None)
    for node in [node for node in edited.graph.node if node.op_type == "Reshape"]:
        if not all(name in weights for name in node.input) or _attribute(node, "allowzero"):
            continue
        values, sizes = (numpy_helper.to_array(weights[name]) for name in node.input)
        kept = [size or values.shape[axis] for axis, size in enumerate(sizes.tolist())]
        made = numpy_helper.from_array(values.reshape(kept), node.output[0])
        edited.graph.initializer.append(made)
        weights[node.output[0]] = made
        edited.graph.node.remove(node)
    _drop_unread(edited.graph)
    return edited


def weights_inside(proto: Any) -> tuple[Any, int]:
    """Weights that are inputs of the graph too, where a caller could replace them, are no more."""
    edited, weights = copy_of(proto), {tensor.name for tensor in proto.graph.initializer}
    both = [value for value in edited.graph.input if value.name in weights]
    for value in both:
        edited.graph.input.remove(value)
    return edited, len(both)


def without_denormals(proto: Any) -> tuple[Any, int]:
    """Weights too small for a normal float32 become zero."""
    edited, count = copy_of(proto), 0
    for tensor in edited.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        small = (np.abs(values) < TINY) & (values != 0)
        if small.any():
            count += int(small.sum())
            flushed = np.where(small, np.float32(0), values)
            tensor.CopyFrom(numpy_helper.from_array(flushed, tensor.name))
    return edited, count


def uncluttered(proto: Any) -> tuple[Any, Counter[str]]:
    """Nodes that do nothing go: Identity, Dropout, casts and transposes that undo each other.

    A BatchNorm that alone follows a convolution is folded into it. What is an output of the
    graph, or is read in a subgraph, stays.
    """
    edited, gone, values = copy_of(proto), Counter[str](), _values(proto)
    while found := next(_idle(edited.graph, values), None):
        kind, node, source = found
        gone[kind] += 1
        _bypass(edited.graph, node, source)
    while pair := next(_foldable(edited.graph), None):
        gone["BatchNormalization"] += 1
        _fold(edited.graph, *pair)
    _drop_unread(edited.graph)
    return edited, gone


def pooled(proto: Any) -> tuple[Any, int]:
    """Means over height and width become the GlobalAveragePool that onnxruntime blocks."""
    edited, nodes, count = copy_of(proto), list[Any](), 0
    values = _values(proto)
    weights = {tensor.name: tensor for tensor in edited.graph.initializer}
    for node in edited.graph.node:
        if not _is_spatial_mean(node, values, weights):
            nodes.append(node)
            continue
        count += 1
        source, result = node.input[0], node.output[0]
        if _attribute(node, "keepdims") == 0:  # (N, C, 1, 1) -> (N, C)
            whole = f"{result}_pooled"
            nodes.append(helper.make_node("GlobalAveragePool", [source], [whole], node.name))
            flat = f"{node.name}_flat" if node.name else ""
            nodes.append(helper.make_node("Flatten", [whole], [result], flat, axis=1))
        else:
            nodes.append(helper.make_node("GlobalAveragePool", [source], [result], node.name))
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del edited.graph.node[:]
    edited.graph.node.extend(made)
    _drop_unread(edited.graph)
    return edited, count


def _is_spatial_mean(node: Any, values: Mapping[str, Any], weights: Mapping[str, Any]) -> bool:
    known = node.op_type == "ReduceMean" and node.input[0] in values
    if not known or len(values[node.input[0]].shape.dim) != 4:
        return False
    axes = _attribute(node, "axes")
    if len(node.input) > 1 and node.input[1] in weights:  # an input from opset 18 on
        axes = numpy_helper.to_array(weights[node.input[1]]).tolist()
    return sorted(axis % 4 for axis in axes or ()) == [2, 3]


def pinned(proto: Any, shapes: Shapes) -> tuple[Any, int]:
    """Every input has the shape given for it, so that nothing is left open."""
    edited, count = copy_of(proto), 0
    for value in edited.graph.input:
        axes = value.type.tensor_type.shape.dim
        for axis, size in zip(axes, shapes.get(value.name, ()), strict=False):
            if axis.dim_value <= 0:  # some exporters write -1
                axis.dim_value = size
                count += 1
    if count:  # what was written down for open sizes no longer holds
        del edited.graph.value_info[:]
        for value in edited.graph.output:
            for axis in value.type.tensor_type.shape.dim:
                axis.ClearField("dim_param")
    return edited, count


def undivided(proto: Any, names: Iterable[str]) -> tuple[Any, int]:
    """Grouped convolutions become dense ones with zeros between the groups.

    Args:
        proto: The model.
        names: First outputs of the convolutions.
    """
    edited, count = copy_of(proto), 0
    weights = {tensor.name: tensor for tensor in edited.graph.initializer}
    readers = Counter(name for node in edited.graph.node for name in node.input)
    wanted = set(names)
    for node in edited.graph.node:
        own = weights.get(node.input[1]) if node.output[0] in wanted else None
        groups = next((a for a in node.attribute if a.name == "group"), None)
        if own is None or groups is None or readers[node.input[1]] != 1:
            continue
        divided = numpy_helper.to_array(own)  # (O, I / groups, *kernel)
        each, part = len(divided) // groups.i, divided.shape[1]
        dense = np.zeros((len(divided), part * groups.i, *divided.shape[2:]), divided.dtype)
        for group in range(groups.i):
            rows = slice(group * each, (group + 1) * each)
            dense[rows, group * part : (group + 1) * part] = divided[rows]
        own.CopyFrom(numpy_helper.from_array(dense, own.name))
        groups.i = 1
        count += 1
    return edited, count


def _values(proto: Any) -> dict[str, Any]:
    """Type and shape of every tensor of a known one."""
    return {name: kind.tensor_type for name, kind in types_of(proto).items()}


def _idle(graph: Any, values: Mapping[str, Any]) -> Any:
    """Nodes that can be bypassed: the kind, the node, and the value to read in its place."""
    makers = {output: node for node in graph.node for output in node.output}
    outputs, inner = {value.name for value in graph.output}, _read_in_subgraphs(graph)
    for node in graph.node:
        result = node.output[0] if node.output else ""
        if result in outputs or result in inner or not node.input:
            continue
        if node.op_type in IDENTITIES and not _trains(node, graph):
            yield node.op_type, node, node.input[0]
            continue
        before = makers.get(node.input[0])
        if before is not None and _undoes(before, node, values):
            yield node.op_type, node, before.input[0]


def _trains(node: Any, graph: Any) -> bool:
    """Whether a Dropout may drop: it has a mode that is not plainly off, or its mask is read."""
    if node.op_type != "Dropout":
        return False
    read = {name for each in graph.node for name in each.input}
    mask = len(node.output) > 1 and node.output[1] in read
    return mask or (len(node.input) > 2 and bool(node.input[2]))


def _undoes(before: Any, node: Any, values: Mapping[str, Any]) -> bool:
    """Whether a transpose or a cast takes back what the one before it did."""
    if before.op_type != node.op_type:
        return False
    if node.op_type == "Transpose":
        orders = [_attribute(each, "perm") for each in (before, node)]
        if not all(orders) or len(orders[0]) != len(orders[1]):
            return False
        return [orders[0][axis] for axis in orders[1]] == list(range(len(orders[0])))
    if node.op_type != "Cast":
        return False
    origin = values[before.input[0]].elem_type if before.input[0] in values else None
    # float32 -> float64 -> float32 is exact, which a narrower type between would not be.
    exact = _attribute(before, "to") in (onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT)
    return exact and origin == _attribute(node, "to") == onnx.TensorProto.FLOAT


def _attribute(node: Any, name: str) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    return None if found is None else helper.get_attribute_value(found)


def _read_in_subgraphs(graph: Any) -> set[str]:
    found: set[str] = set()
    for node in graph.node:
        for inner in subgraphs(node):
            found |= {name for each in inner.node for name in each.input}
            found |= _read_in_subgraphs(inner)
    return found


def _bypass(graph: Any, node: Any, source: str) -> None:
    result = node.output[0]
    graph.node.remove(node)
    for reader in graph.node:
        for place, name in enumerate(reader.input):
            if name == result:
                reader.input[place] = source


def _foldable(graph: Any) -> Any:
    """Convolutions with weights of their own, each with the BatchNorm that alone reads it."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    fixed = set(weights) - {value.name for value in graph.input}
    makers = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    readers.update(_read_in_subgraphs(graph))
    for norm in graph.node:
        if norm.op_type != "BatchNormalization" or len(norm.output) > 1:
            continue
        conv = makers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or readers[norm.input[0]] != 1:
            continue
        own = list(conv.input[1:]) + list(norm.input[1:])
        if fixed.issuperset(own) and readers[conv.input[1]] == 1:
            yield conv, norm


def _fold(graph: Any, conv: Any, norm: Any) -> None:
    weights = {tensor.name: tensor for tensor in graph.initializer}
    scale, shift, mean, variance = (
        numpy_helper.to_array(weights[name]).astype(np.float64) for name in norm.input[1:]
    )
    epsilon = _attribute(norm, "epsilon")
    factor = scale / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))  # (O,)
    kernel = weights[conv.input[1]]
    values = numpy_helper.to_array(kernel)  # (O, I, *kernel)
    folded = values * factor.reshape(-1, *[1] * (values.ndim - 1))
    old = numpy_helper.to_array(weights[conv.input[2]]) if len(conv.input) > 2 else 0
    bias = (old - mean) * factor + shift
    name = f"{conv.input[1]}_folded_bias"
    graph.initializer.append(numpy_helper.from_array(bias.astype(values.dtype), name))
    kernel.CopyFrom(numpy_helper.from_array(folded.astype(values.dtype), kernel.name))
    del conv.input[2:]
    conv.input.append(name)
    conv.output[0] = norm.output[0]
    graph.node.remove(norm)


def _drop_unread(graph: Any) -> None:
    """Nodes and weights that nothing reads any more."""
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {value.name for value in graph.output} | _read_in_subgraphs(graph)
        unread = [node for node in graph.node if read.isdisjoint(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    offered = read | {value.name for value in graph.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in offered]:
        graph.initializer.remove(tensor)
