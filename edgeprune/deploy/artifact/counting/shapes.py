"""Types and shapes of every tensor of a graph, by onnx's inference and what a run has shown."""

from collections.abc import Mapping
from typing import Any

from edgeprune.deploy.artifact import limited
from edgeprune.deploy.artifact.counting.operators import Shape
from edgeprune.deploy.artifact.counting.skeleton import (
    UncountableError,
    is_stored_here,
    skeleton,
)

LARGEST = 1 << 62  # a size or a count as large is a mistake of the file
Types = dict[str, Any]  # onnx.TypeProto by the name of the tensor


def types_of(proto: Any) -> Types:
    """As :func:`inferred`, of a whole model; none where its functions have no end."""
    try:
        return inferred(skeleton(proto))
    except UncountableError:
        return {}


def inferred(model: Any, seen: Mapping[str, Shape] | None = None) -> Types:
    """Types by the name of the tensor, as far as onnx can tell.

    Args:
        model: A skeleton whose inputs are pinned.
        seen: Shapes that a run has shown, from which inference goes on.
    """
    import onnx

    known = stored_types(model.graph)
    types = _inferred(model)
    if seen:
        for name, shape in seen.items():
            element = types[name].tensor_type.elem_type if name in types else 0
            info = onnx.helper.make_tensor_value_info(name, element, shape)
            model.graph.value_info.append(info)
            types[name] = info.type
        types = _inferred(model) | {name: types[name] for name in seen}
    return types | known


def _inferred(model: Any) -> Types:
    try:
        values = limited.infer(model)
    except limited.PassError:  # a graph that onnx cannot follow: what it says itself is known
        graph = model.graph
        values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: value.type for value in values}


def shape_of(kind: Any) -> Shape | None:
    """Shape of a tensor's type; None where a size is not known."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def stored_types(graph: Any) -> Types:
    """Types of the tensors that the graph holds: initialisers, sparse ones too, and constants."""
    return {
        name: _type(tensor)
        for name, tensor in stored(graph).items()
        if min(tensor.dims, default=0) >= 0
    }


def stored(graph: Any) -> Types:
    """Tensors that the graph holds, by name; of sparse ones the values with the whole dims."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    found |= {tensor.values.name: _dense(tensor) for tensor in graph.sparse_initializer}
    for node in filter(is_stored_here, graph.node):
        if node.output and (tensor := _constant(node)) is not None:
            found[node.output[0]] = tensor
    return found


def _constant(node: Any) -> Any:
    """The tensor of a Constant; None where it is text, or of another type than its name says."""
    import onnx

    floats, ints = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t"):
            return attribute.t
        if attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
            return _dense(attribute.sparse_tensor)
        plain: dict[str, tuple[int, list[int], list[Any]]] = {
            "value_float": (floats, [], [attribute.f]),
            "value_int": (ints, [], [attribute.i]),
            "value_floats": (floats, [len(attribute.floats)], list(attribute.floats)),
            "value_ints": (ints, [len(attribute.ints)], list(attribute.ints)),
        }
        if attribute.name in plain:
            return onnx.helper.make_tensor("", *plain[attribute.name])
    return None


def _dense(sparse: Any) -> Any:
    import onnx

    return onnx.TensorProto(dims=sparse.dims, data_type=sparse.values.data_type)


def _type(tensor: Any) -> Any:
    import onnx

    return onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
