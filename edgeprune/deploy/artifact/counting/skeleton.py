"""An ONNX model without its large tensors and with its local functions inlined, for counting.

What the file says about shapes inside it is dropped: it may be stale or a lie.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from edgeprune.deploy.artifact import limited
from edgeprune.deploy.artifact.counting.operators import Shape

SMALL = 1024  # elements of a tensor that is kept whole: shapes, axes and trip counts are in it
MOST_NODES = 1_000_000  # after functions are inlined: a few lines can ask for 2^60 nodes


class UncountableError(Exception):
    """The model cannot be taken apart; the text says why in a few words."""


def skeleton(proto: Any) -> Any:
    """A copy with dims in place of large data, functions inlined, shapes inside it dropped.

    Raises:
        UncountableError: its functions call each other for ever, or are too many once inlined.
    """
    import onnx

    model = onnx.ModelProto(ir_version=proto.ir_version)
    model.opset_import.extend(proto.opset_import)
    model.functions.extend(proto.functions)
    model.graph.node.extend(proto.graph.node)
    model.graph.name = proto.graph.name
    model.graph.input.extend(proto.graph.input)
    model.graph.output.extend(proto.graph.output)
    model.graph.initializer.extend(map(_bare, proto.graph.initializer))
    model.graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    model = inlined(model)
    _drop_shapes(model.graph)
    return model


def inlined(model: Any) -> Any:
    """The model with its local functions inlined.

    Raises:
        UncountableError: see :func:`skeleton`.
    """
    if not model.functions:
        return model
    _check_functions(model)
    try:
        return limited.inline(model)
    except limited.PassError as error:
        raise UncountableError("local functions") from error


def pin(graph: Any, shapes: Mapping[str, Shape]) -> None:
    """Give inputs of the graph these shapes, in place."""
    for value in graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape
            dims.Clear()
            dims.SetInParent()  # a scalar's shape has no axis, and is there all the same
            for size in shapes[value.name]:
                dims.dim.add(dim_value=size)


def subgraphs(node: Any) -> Iterator[Any]:
    """Graphs among the attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def is_stored_here(node: Any) -> bool:
    """Whether a node is a tensor that the file holds."""
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def is_small(tensor: Any) -> bool:
    """Whether a skeleton keeps the data of a tensor that is stored in the file."""
    return bool(math.prod(tensor.dims) <= SMALL)


def _bare(tensor: Any) -> Any:
    import onnx

    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    if is_small(tensor) and not external:
        return tensor
    return onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)


def _drop_shapes(graph: Any) -> None:
    del graph.value_info[:]
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                attribute.t.CopyFrom(_bare(attribute.t))
        for inner in subgraphs(node):
            bare = [_bare(tensor) for tensor in inner.initializer]
            del inner.initializer[:]
            inner.initializer.extend(bare)
            _drop_shapes(inner)


def _check_functions(model: Any) -> None:
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int | None] = {}

    def size(nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in functions:
                if key in sizes and sizes[key] is None:
                    raise UncountableError("local functions that call themselves")
                if key not in sizes:
                    sizes[key] = None  # until it is known: meeting it again is a circle
                    sizes[key] = size(functions[key].node)
                total += sizes[key] or 0
            total += 1 + sum(size(graph.node) for graph in subgraphs(node))
            if total > MOST_NODES:
                raise UncountableError("local functions of too many operators")
        return total

    try:
        size(model.graph.node)
    except RecursionError:
        raise UncountableError("local functions nested too deeply") from None
