"""Which sums of two products leave 16 bits: by hand, and against every product one by one."""

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.saturation import saturating
from edgeprune.deploy.precision.scheme import Scheme

CONVOLUTIONS = [
    {"channels": 8, "kernel": 3, "pads": [1] * 4},
    {"channels": 3, "kernel": 3, "pads": [1] * 4},  # an odd inner axis
    {"channels": 5, "kernel": 3, "pads": [1, 0, 0, 1], "strides": [2, 2]},
    {"channels": 8, "kernel": 1, "pads": [0] * 4},
    {"channels": 4, "kernel": 3, "pads": [2] * 4, "dilations": [2, 2]},
    {"channels": 4, "kernel": 3, "pads": [1] * 4, "group": 2},
]


def network(
    channels: int, kernel: int, weight: Any = None, **attributes: Any
) -> tuple[onnx.ModelProto, list[Any]]:
    """A convolution of 4 outputs in u8s8, with large weights, and two bright images."""
    random = np.random.default_rng(0)
    inside = channels // attributes.get("group", 1)
    shape = (4, inside, kernel, kernel)
    if weight is None:
        weight = random.choice([-1, 1], shape) * (0.55 + 0.45 * random.random(shape))
    node = helper.make_node("Conv", ["input", "c.weight"], ["y"], name="c", **attributes)
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["y"], ["z"], name="r")],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, channels, 7, 7])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(weight, np.float32), "c.weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    images = [random.random((1, channels, 7, 7), np.float32) ** 0.3 - 0.1 for _ in range(2)]
    ranges = {"input": (-0.1, 1.0), "y": (-9.0, 9.0), "z": (0.0, 9.0)}
    return quantised(proto, ranges, Scheme()), images


def one_by_one(proto: onnx.ModelProto, image: Any, how: dict[str, Any]) -> float:
    """Share of outputs with a saturating pair, each product made by itself."""
    values = {t.name: numpy_helper.to_array(t).astype(int) for t in proto.graph.initializer}
    weight = values["c.weight_quantized"]
    scale = 1.1 / 255
    zero = round(0.1 / scale)
    pixels = np.clip(np.rint(image[0] / np.float32(scale)) + zero, 0, 255).astype(int)
    top, left, bottom, right = how["pads"]
    pixels = np.pad(pixels, ((0, 0), (top, bottom), (left, right)), constant_values=zero)
    (down, across), (high, wide) = how.get("strides", [1, 1]), how.get("dilations", [1, 1])
    outputs, inside, side, _ = weight.shape
    reach = (high * (side - 1), wide * (side - 1))
    hits = []
    for n, y, x in itertools.product(
        range(outputs),
        range(0, pixels.shape[1] - reach[0], down),
        range(0, pixels.shape[2] - reach[1], across),
    ):
        first = n // (outputs // how.get("group", 1)) * inside
        products = [
            pixels[first + c, y + high * i, x + wide * j] * weight[n, c, i, j]
            for i in range(side) for j in range(side) for c in range(inside)
        ] + [0]  # fmt: skip
        sums = [sum(pair) for pair in zip(products[0::2], products[1::2], strict=False)]
        hits.append(any(not -32768 <= each <= 32767 for each in sums))
    return float(np.mean(hits))


@pytest.mark.parametrize("how", CONVOLUTIONS)
def test_it_is_what_every_product_by_itself_says(how: dict[str, Any]) -> None:
    proto, images = network(**how)
    (found,) = saturating(proto, images)
    assert found.layer == "c"
    assert found.share == pytest.approx(np.mean([one_by_one(proto, i, how) for i in images]))
    assert found.share > 0


@pytest.mark.parametrize(
    ("pair", "saturates"),
    [((1.0, 0.02), False), ((1.0, 0.1), True), ((1.0, -1.0), False), ((-1.0, -0.1), True)],
)
def test_two_large_weights_of_one_sign_saturate(
    pair: tuple[float, float], saturates: bool
) -> None:
    # 255 * (127 + 3) > 32767 even so: of the first pair the second channel is dark.
    weight = np.zeros((4, 2, 1, 1))
    weight[0, :, 0, 0] = pair
    weight[1:] = 0.001
    proto, _ = network(2, 1, weight, pads=[0] * 4)
    bright = np.ones((1, 2, 7, 7), np.float32)
    if not saturates:
        bright[:, 1] = -0.1
    assert bool(saturating(proto, [bright])) is saturates


def test_depthwise_convolutions_and_weights_of_seven_bits_do_not() -> None:
    proto, images = network(4, 3, pads=[1] * 4, group=4)
    assert saturating(proto, images) == ()


def test_a_real_network_names_its_layers(proto: onnx.ModelProto, images: list[Any]) -> None:
    ranges = dict.fromkeys(
        ("input", *(out for node in proto.graph.node for out in node.output)), (-1.0, 1.0)
    )
    assert saturating(quantised(proto, ranges, Scheme(reduced=True)), images[:4]) == ()
    named = {each.layer for each in saturating(quantised(proto, ranges, Scheme()), images[:4])}
    assert named <= {"w1", "w2", "w3"} and named
