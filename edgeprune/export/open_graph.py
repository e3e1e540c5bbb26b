"""Export of a torch network to an ONNX graph whose weights are still open: inputs of the graph."""

from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from onnx import numpy_helper
from torch import nn

from edgeprune.deploy.artifact.edits import pooled
from edgeprune.export.exporter import exported, plain, quiet
from edgeprune.export.onnx_rules import attribute
from edgeprune.prune.models.outputs import answer_to, names


def open_graph(model: nn.Module, shape: tuple[int, ...]) -> onnx.GraphProto:
    """The operators of a network as exported, its parameters and buffers inputs by their names.

    What depends on no weight is folded; what depends on weights alone is not, nor is BatchNorm.
    With the weights of another network of the same make it is that network.

    Args:
        model: Any mode, dtype and device; it is left as it is.
        shape: Of the input, (N, C, H, W).

    Returns:
        The graph with the shape of every tensor; its first input is the image.

    Raises:
        InputError: the network cannot be exported.
    """
    network = plain(model)
    image = torch.zeros(shape)
    program = exported(network, image, names(answer_to(network, image)), optimize=False)
    named = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    named |= {name for name, _ in network.named_buffers(remove_duplicate=False)}
    graph: Any = program.model.graph
    for value in list(graph.initializers.values()):
        if value.name not in named or value.dtype != onnx_ir.DataType.FLOAT:
            continue  # an index is no weight
        del graph.initializers[value.name]
        value.const_value = None
        graph.inputs.append(value)
    with quiet():
        onnxscript.optimizer.optimize_ir(program.model)
    proto, _ = pooled(program.model_proto)
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    _gathers_reshaped(inferred.graph)
    return inferred.graph


def _gathers_reshaped(graph: onnx.GraphProto) -> None:
    """A Gather of everything in its order is a Reshape, in place: what ``as_strided`` becomes."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    for node in graph.node:
        if node.op_type != "Gather" or node.input[1] not in values:
            continue
        size = shapes[node.input[0]][attribute(node, "axis", 0)]
        if not np.array_equal(values[node.input[1]].ravel(), np.arange(size)):
            continue
        sizes = np.array(shapes[node.output[0]], np.int64)
        graph.initializer.append(numpy_helper.from_array(sizes, f"{node.output[0]}.shape"))
        node.op_type, node.input[1] = "Reshape", graph.initializer[-1].name
        del node.attribute[:]
