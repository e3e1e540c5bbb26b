"""Layers of an ONNX network: their names, and what each of them makes of an image."""

from collections.abc import Iterable, Iterator, Sequence

import onnx
from onnx import helper

from edgeprune.arrays import Floats32
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.target import Runtime

WEIGHTED = ("Conv", "Gemm")
_PLAIN = Runtime(optimisation="disable")  # nothing is fused: every layer's output can be read


def layer_names(proto: onnx.ModelProto) -> dict[str, str]:
    """Names of layers, by the names of their nodes: modules as far as their weights say."""
    return {
        node.name: node.input[1].removesuffix(".weight") if len(node.input) > 1 else node.name
        for node in proto.graph.node
    }


def weighted(proto: onnx.ModelProto) -> list[str]:
    """Nodes of the layers with weights that are quantised, in order."""
    return [node.name for node in proto.graph.node if node.op_type in WEIGHTED]


def layer_outputs(
    proto: onnx.ModelProto, nodes: Sequence[str], images: Iterable[Floats32]
) -> Iterator[list[Floats32]]:
    """What the first output of each of these nodes is, image by image.

    Args:
        proto: One image input; may be quantised.
        nodes: Names of nodes.
        images: Each (1, C, H, W).
    """
    tensors = {node.name: node.output[0] for node in proto.graph.node}
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    del watched.graph.output[:]
    watched.graph.output.extend(
        helper.make_tensor_value_info(tensors[name], onnx.TensorProto.FLOAT, None)
        for name in nodes
    )
    session = open_session(watched.SerializeToString(), _PLAIN)
    for image in images:
        yield session.session.run(None, {session.input_name: image})
