"""Nodes of an optimised graph belong to the layers of the file that they compute."""

from typing import Any

import pytest
from onnx import TensorProto, helper

from edgeprune.deploy.doctor.layers import Layer, blocked_values, layer_name, layers
from tests.graphs import chain, optimised, profile


def found(proto: Any, ms: float = 1.0) -> tuple[Layer, ...]:
    graph = optimised(proto)
    return layers(proto, graph, profile(graph), ms)


def test_every_convolution_is_found_under_its_name() -> None:
    weighted = [layer for layer in found(chain(22, 30, 32)) if layer.weighted]
    assert [layer.name for layer in weighted] == ["conv0", "conv1", "conv2", "head"]
    assert [layer.value for layer in weighted] == ["c0", "c1", "c2", "logits"]


def test_shares_are_of_the_measured_time() -> None:
    every = found(chain(16, 16), ms=3.0)
    assert sum(layer.ms for layer in every) == pytest.approx(3.0)
    assert sum(layer.share for layer in every) == pytest.approx(1.0)


@pytest.mark.usefixtures("blocks")
def test_blocked_and_plain_ones_are_told_apart() -> None:
    proto = chain(22, 32)
    blocked = {layer.name: layer.blocked for layer in found(proto) if layer.weighted}
    assert blocked == {"conv0": True, "conv1": False, "head": False}
    assert blocked_values(proto, optimised(proto)) == {"c0"}


@pytest.mark.usefixtures("blocks")
def test_reorders_are_named_by_the_side_that_the_author_knows() -> None:
    names = [layer.name for layer in found(chain(22, 32)) if "Reorder" in layer.kernel]
    assert "after r0" in names


def test_a_node_that_is_nowhere_in_the_graph_keeps_its_name() -> None:
    line = [{"name": "ghost", "op": "Cast", "provider": "P", "ns": 5}]
    (layer,) = layers(chain(16), optimised(chain(16)), line, 1.0)
    assert (layer.name, layer.value, layer.weighted) == ("ghost", "", False)


def test_both_branches_of_an_addition_are_found() -> None:
    proto = chain(16, 16)  # conv1(r0) + conv0(x): the sum is fused into one of them
    add = helper.make_node("Add", ["c1", "c0"], ["sum"])
    nodes = list(proto.graph.node)
    relu = next(node for node in nodes if node.output[0] == "r1")
    proto.graph.node.insert(nodes.index(relu), add)
    relu = next(node for node in proto.graph.node if node.output[0] == "r1")
    relu.input[0] = "sum"
    weighted = [layer.name for layer in found(proto) if layer.weighted]
    assert sorted(weighted) == ["conv0", "conv1", "head"]


@pytest.mark.parametrize(
    ("weight", "name"),
    [
        ("layer1.0.conv1.weight", "layer1.0.conv1"),
        ("conv1.weight_quantized", "conv1"),
        ("conv2d_0.w_0", "conv2d_0.w_0"),
        ("onnx::Conv_123", "node7"),
        ("123", "node7"),
        ("", "node7"),
    ],
)
def test_a_layer_is_called_by_what_says_most(weight: str, name: str) -> None:
    assert layer_name(helper.make_node("Conv", ["x"], ["y"], name="node7"), weight) == name


def test_a_quantised_layer_is_called_by_its_weight() -> None:
    weight = helper.make_tensor("conv0.weight_quantized", TensorProto.INT8, [2], [1, 2])
    proto = chain(16)
    proto.graph.initializer.append(weight)
    proto.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["conv0.weight_quantized", "s"], ["d"])
    )
    proto.graph.node[1].input[1] = "d"
    graph = helper.make_model(helper.make_graph([proto.graph.node[1]], "g", [], []))
    line = [{"name": "Conv_0", "op": "Conv", "provider": "P", "ns": 5}]
    assert layers(proto, graph.SerializeToString(), line, 1.0)[0].name == "conv0"
