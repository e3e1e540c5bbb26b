"""The networks of benchmarks/gate.py: a ResNet-20 of about 1 ms, a stack of about 300 ms."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def stack(layers: int, side: int = 64, width: int = 256) -> bytes:
    """So many 3x3 convolutions of ``width`` channels with random weights; 37 ms each, about."""
    random, nodes, weights, x = np.random.default_rng(0), [], [], "input"
    for layer in range(layers):
        c_in = width if layer else 3
        value = random.standard_normal((width, c_in, 3, 3)) * (2 / c_in / 9) ** 0.5
        weights.append(numpy_helper.from_array(value.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Conv", [x, f"w{layer}"], [f"c{layer}"], pads=[1] * 4))
        x = f"r{layer}"
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [x]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])
    maps = helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, width, side, side])
    graph = helper.make_graph(nodes, "stack", [image], [maps], weights)
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())


def resnet20(inner: float = 1.0) -> bytes:
    """A CIFAR ResNet-20 with random weights, its inner widths scaled by ``inner``."""
    random, nodes, weights = np.random.default_rng(0), [], []

    def convolution(x: str, shape: tuple[int, int, int], name: str, stride: int = 1) -> str:
        c_in, c_out, kernel = shape
        value = (
            random.standard_normal((c_out, c_in, kernel, kernel)) * (2 / c_in / kernel**2) ** 0.5
        )
        weights.append(numpy_helper.from_array(value.astype(np.float32), name + ".w"))
        weights.append(numpy_helper.from_array(np.zeros(c_out, np.float32), name + ".b"))
        pads, strides = [kernel // 2] * 4, [stride] * 2
        inputs = [x, name + ".w", name + ".b"]
        nodes.append(helper.make_node("Conv", inputs, [name], name, pads=pads, strides=strides))
        return name

    def relu(x: str) -> str:
        nodes.append(helper.make_node("Relu", [x], [x + ".relu"], x + ".relu"))
        return x + ".relu"

    x, c_in = relu(convolution("input", (3, 16, 3), "stem")), 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            name, middle = f"layer{stage + 1}.{block}", int(width * inner)
            stride = 2 if stage and not block else 1
            y = relu(convolution(x, (c_in, middle, 3), name + ".conv1", stride))
            y = convolution(y, (middle, width, 3), name + ".conv2")
            if c_in != width:
                x = convolution(x, (c_in, width, 1), name + ".shortcut", stride)
            nodes.append(helper.make_node("Add", [y, x], [name], name))
            x, c_in = relu(name), width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    value = random.standard_normal((10, c_in)).astype(np.float32)
    weights.append(numpy_helper.from_array(value, "linear.w"))
    nodes.append(helper.make_node("Gemm", ["flat", "linear.w"], ["logits"], "linear", transB=1))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "resnet20", [image], [logits], weights)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
