"""ONNX graphs for tests, made by hand: chains of convolutions, and what they answer."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.devices.runner import Sessions


def chain(*widths: int, side: int = 16, groups: int = 1, scale: float = 1.0) -> Any:
    """3x3 convolutions with ReLU from 3 channels to each width, then pooling and a classifier."""
    random, nodes, weights, last, before = np.random.default_rng(0), [], [], "input", 3

    def weight(name: str, *dims: int) -> str:
        values = random.standard_normal(dims) * scale / np.sqrt(np.prod(dims[1:]))
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    for number, width in enumerate(widths):
        split = groups if before % groups == 0 and width % groups == 0 else 1
        kernel = weight(f"conv{number}.weight", width, before // split, 3, 3)
        bias = weight(f"conv{number}.bias", width)
        made = {"pads": [1] * 4, "kernel_shape": [3, 3], "group": split}
        nodes.append(helper.make_node("Conv", [last, kernel, bias], [f"c{number}"], **made))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        last, before = f"r{number}", width
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], axis=1))
    head = [weight("head.weight", 10, before), weight("head.bias", 10)]
    nodes.append(helper.make_node("Gemm", ["flat", *head], ["logits"], transB=1))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def answers(proto: Any, **inputs: Any) -> Any:
    """What a model answers on seeded input."""
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    shape = session.get_inputs()[0].shape
    given = inputs or {"input": np.random.default_rng(1).standard_normal(shape, np.float32)}
    return session.run(None, given)[0]


def optimised(proto: Any) -> bytes:
    """The graph as onnxruntime runs it here."""
    job = {
        "models": [proto.SerializeToString()],
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
        "optimisation": "all",
        "clock": "cpu",
        "names": ["m"],
    }
    return bytes(Sessions(onnxruntime, job).optimised_graph(0))


def profile(graph: bytes, ns: int = 1000) -> list[dict[str, Any]]:
    """Every node as long as every other, named as onnxruntime's profiler names them."""
    nodes = onnx.ModelProto.FromString(graph).graph.node
    about = {"provider": "CPUExecutionProvider", "ns": ns}
    return [
        {"name": node.name or f"{node.op_type}_{place}", "op": node.op_type, **about}
        for place, node in enumerate(nodes)
    ]
