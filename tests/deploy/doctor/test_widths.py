"""Channel groups of ONNX graphs, and graphs with other widths that answer the same."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact.edits import copy_of
from edgeprune.deploy.doctor.widths import groups_of, resized, shapes_of
from tests.graphs import answers, chain


def groups(proto: Any) -> Any:
    return groups_of(proto, shapes_of(proto))


def test_a_chain_has_a_group_a_layer() -> None:
    found = groups(chain(22, 30))
    assert found["c0"] is found["r0"]
    assert found["r0"] is not found["r1"]
    assert (found["r0"].width, found["r1"].width) == (22, 30)
    assert (found["r0"].makers, found["r0"].fixed) == (["c0"], "")
    assert found["input"].fixed
    assert found["logits"].fixed


@pytest.mark.parametrize("width", [24, 32])
def test_a_wider_layer_answers_the_same(width: int) -> None:
    proto = chain(22, 30)
    group = groups(proto)["r0"]
    wider = resized(proto, [group], [width])
    dims = {tensor.name: list(tensor.dims) for tensor in wider.graph.initializer}
    assert dims["conv0.weight"] == [width, 3, 3, 3]
    assert dims["conv1.weight"] == [30, width, 3, 3]
    np.testing.assert_allclose(answers(wider), answers(proto), rtol=1e-4, atol=1e-5)


def test_the_last_layer_is_followed_into_the_classifier() -> None:
    proto = chain(22, 30)
    wider = resized(proto, [groups(proto)["r1"]], [32])
    np.testing.assert_allclose(answers(wider), answers(proto), rtol=1e-4, atol=1e-5)


def test_a_narrower_layer_runs() -> None:
    proto = chain(22, 30)
    assert answers(resized(proto, [groups(proto)["r0"]], [20])).shape == (1, 10)


def residual(joining: str = "Add", axis: str = "channels") -> Any:
    """Two branches of 6 channels that meet, depthwise and BatchNorm in one of them."""
    random = np.random.default_rng(0)
    sizes = {
        "stem": (6, 3, 3, 3),
        "deep": (6, 1, 3, 3),
        "scale": (6,),
        "shift": (6,),
        "mean": (6,),
        "var": (6,),
        "slope": (6, 1, 1),
        "head": (4, 6, 1, 1),
    }
    weights = [
        numpy_helper.from_array(np.abs(random.standard_normal(dims)).astype(np.float32), name)
        for name, dims in sizes.items()
    ]
    about = {"axis": 1} if joining == "Concat" else {}
    if joining == "Concat":
        weights[-1] = numpy_helper.from_array(np.ones((4, 12, 1, 1), np.float32), "head")
    nodes = [
        helper.make_node("Conv", ["input", "stem"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "deep"], ["b"], pads=[1] * 4, group=6),
        helper.make_node("BatchNormalization", ["b", "scale", "shift", "mean", "var"], ["c"]),
        helper.make_node("PRelu", ["c", "slope"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["e"]),
        helper.make_node(joining, ["a", "e"], ["f"], **about),
        helper.make_node("Conv", ["f", "head"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


@pytest.mark.parametrize("joining", ["Add", "Mul", "Max"])
def test_branches_that_meet_are_one_group(joining: str) -> None:
    proto = residual(joining)
    found = groups(proto)
    assert len({id(found[name]) for name in "abcdef"}) == 1
    assert found["a"].grouped == {"b"}
    wider = resized(proto, [found["a"]], [8])
    group = next(a.i for a in wider.graph.node[1].attribute if a.name == "group")
    assert group == 8
    np.testing.assert_allclose(answers(wider), answers(proto), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("joining", ["Concat", "Div"])
def test_what_is_not_followed_holds_the_width(joining: str) -> None:
    found = groups(residual(joining))
    assert found["a"].fixed == found["e"].fixed == joining


def test_constants_count_as_weights() -> None:
    proto = chain(22, 30)
    tensor = proto.graph.initializer[0]
    proto.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del proto.graph.initializer[0]
    assert groups(copy_of(proto))["r0"].width == 22
