"""Turns a timed unit of the latency table into the int8 unit that a quantised network has."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.scheme import Scheme

_LARGEST = 1024  # elements of a tensor that is sent as it is
_SPAN = (-4.0, 4.0)  # of every activation: the time of an integer kernel depends on no value


def in_int8(unit: bytes, scheme: Scheme) -> bytes:
    """Quantise a unit as the quantiser does a whole network, without calibration.

    Its weights stay constants that the runtime unfolds when it opens the file, so a few
    kilobytes go to the device. Input and output stay float: what it costs to come and to go lies
    between blocks, and cancels along a chain of them as a change of layout does.

    Args:
        unit: What :func:`edgeprune.deploy.table.assemble.assemble` built.
        scheme: Number formats.
    """
    proto = onnx.ModelProto.FromString(unit)
    _unfold(proto)
    _go_on(proto.graph)
    for place, node in enumerate(proto.graph.node):
        node.name = f"n{place}"
    names = [output for node in proto.graph.node for output in node.output]
    ranges = dict.fromkeys([proto.graph.input[0].name, *names], _SPAN)
    made = quantised(proto, ranges, scheme)
    _fold(made)
    serialised: bytes = made.SerializeToString(deterministic=True)
    return serialised


def _unfold(proto: onnx.ModelProto) -> None:
    """Real weights in place of the ConstantOfShape nodes: the quantiser looks for those."""
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    kept, weights = [], []
    for node in proto.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        value = numpy_helper.to_array(node.attribute[0].t)[0]
        shape = numpy_helper.to_array(tensors.pop(node.input[0]))
        full = np.full(tuple(shape), value, np.float32)
        weights.append(numpy_helper.from_array(full, node.output[0]))
    weights += tensors.values()  # sizes and limits
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(weights)


def _go_on(graph: onnx.GraphProto) -> None:
    """Let something read the block's output, as in a network.

    The quantiser leaves an activation that ends a graph in float, and what is before it. To go on
    flat costs no more than the copy to the output.
    """
    output = graph.output[0]
    inner = f"{output.name}.block"
    for node in graph.node:
        node.output[:] = [inner if name == output.name else name for name in node.output]
        node.input[:] = [inner if name == output.name else name for name in node.input]
    graph.node.append(helper.make_node("Reshape", [inner, f"{output.name}.shape"], [output.name]))
    flat = helper.make_tensor(f"{output.name}.shape", TensorProto.INT64, [2], [1, -1])
    graph.initializer.append(flat)
    ends = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None, None])
    del graph.output[:]
    graph.output.append(ends)


def _fold(proto: onnx.ModelProto) -> None:
    """Large weights become ConstantOfShape nodes again, each with a value of its own."""
    kept, nodes, sizes = [], list[onnx.NodeProto](), []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.INT8 or math.prod(tensor.dims) <= _LARGEST:
            kept.append(tensor)
            continue
        # Equal tensors would be merged, and several layers' weights take the cache of one.
        filling = helper.make_tensor("value", TensorProto.INT8, [1], [1 + len(nodes) % 100])
        shape = helper.make_tensor(
            f"{tensor.name}.shape", TensorProto.INT64, [len(tensor.dims)], list(tensor.dims)
        )
        sizes.append(shape)
        nodes.append(
            helper.make_node("ConstantOfShape", [shape.name], [tensor.name], value=filling)
        )
    body = [*nodes, *proto.graph.node]
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(body)
    proto.graph.initializer.extend([*kept, *sizes])
