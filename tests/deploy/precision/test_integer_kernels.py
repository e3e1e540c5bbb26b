"""What really runs on integers, off the optimised graph of this machine's onnxruntime."""

from typing import Any

import onnx
import pytest
from onnx import helper

from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.precision.integer_kernels import integer_kernels
from edgeprune.deploy.precision.proof import kernels_on
from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.ranges import observed
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.target import Runtime


def test_all_convolutions_of_the_default_scheme(proto: onnx.ModelProto, images: list[Any]) -> None:
    ranges = observed(proto, images, "minmax")
    found = kernels_on(Local(), quantised(proto, ranges, Scheme()), Runtime())
    assert (found.integer, found.floats, found.fraction) == (2, (), 1.0)
    assert found.describe() == "2 of 2 convolutions run on integers"


def test_a_float_island_is_named_with_its_reason(
    proto: onnx.ModelProto, images: list[Any]
) -> None:
    ranges = observed(proto, images, "minmax")
    found = kernels_on(Local(), quantised(proto, ranges, Scheme(), ["conv1"]), Runtime())
    assert (found.integer, found.fraction) == (1, 0.5)
    ((name, why),) = found.floats
    assert why == "left in float"
    assert name  # of the weight; where onnxruntime blocked that, of the bias or of what it makes


def test_a_float_file_has_none_and_a_file_without_convolutions_lacks_none(
    proto: onnx.ModelProto,
) -> None:
    assert integer_kernels(proto.SerializeToString()).fraction == 0.0
    relu = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    assert integer_kernels(helper.make_model(relu).SerializeToString()).fraction == 1.0


def test_what_surrounds_a_convolution_says_why_it_is_not_fused() -> None:
    def node(kind: str, inputs: list[str], output: str) -> Any:
        return helper.make_node(kind, inputs, [output])

    weight = node("DequantizeLinear", ["w_quantized", "s"], "w")
    image = node("DequantizeLinear", ["q", "s"], "x")
    convolution = node("Conv", ["x", "w"], "y")
    read = node("QuantizeLinear", ["y", "s"], "q2")
    for nodes, why in (
        ([weight, convolution], "what it reads is not quantised"),
        ([weight, image, convolution], "what it makes is not quantised"),
        ([weight, image, convolution, read], "no integer kernel for these types here"),
    ):
        graph = helper.make_graph(nodes, "g", [], [])
        found = integer_kernels(helper.make_model(graph).SerializeToString())
        assert found.floats == (("w", why),)


@pytest.mark.parametrize("bias", ["stem.conv.bias", "stem.conv_bias"])
def test_a_layer_whose_weights_were_blocked_is_named_by_its_bias(bias: str) -> None:
    node = helper.make_node("Conv", ["x", "reorder_1", bias], ["y"], domain="com.microsoft.nchwc")
    graph = helper.make_graph([node], "g", [], [])
    found = integer_kernels(helper.make_model(graph).SerializeToString())
    assert found.floats == (("stem.conv", "left in float"),)
