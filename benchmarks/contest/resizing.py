"""Resizes the dense ONNX file to other widths, for timing only: weights are drawn.

Exporting takes seconds a network and a climb times hundreds. Between networks that differ in
their widths alone nothing in the graph differs but the shapes of the weights.
"""

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn


def resized(dense: onnx.ModelProto, network: nn.Module) -> bytes:
    """The file of a network that has the dense one's graph and its own widths.

    Args:
        dense: The dense network as exported; its weights are named after their layers.
        network: A narrower version of the same layers.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(dense)
    graph = proto.graph
    del graph.value_info[:]
    weights = {each.name: each for each in graph.initializer}
    drawn = np.random.default_rng(0)
    flat: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in {"Conv", "Gemm"}:
            continue
        kernel = network.get_submodule(node.input[1].rpartition(".")[0]).weight
        flat[node.input[0]] = kernel.shape[1]
        for name, shape in zip(node.input[1:], (kernel.shape, kernel.shape[:1]), strict=False):
            # As small as trained weights are: values that overflow would cost time of their own.
            values = drawn.normal(0, 0.05, tuple(shape)).astype(np.float32)
            weights[name].CopyFrom(numpy_helper.from_array(values, name))
    for node in graph.node:
        if node.op_type == "Reshape" and node.output[0] in flat:
            sides = numpy_helper.to_array(weights[node.input[1]]).copy()
            sides[-1] = flat[node.output[0]]
            weights[node.input[1]].CopyFrom(numpy_helper.from_array(sides, node.input[1]))
    return proto.SerializeToString()
