"""Shapes from a run of onnxruntime in a process of its own."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact.counting.observation import observed

NODES = [
    helper.make_node("Shape", ["x"], ["s"]),
    helper.make_node("Abs", ["s"], ["t"]),
    helper.make_node("Reshape", ["x", "t"], ["r"]),
    helper.make_node("NonZero", ["flags"], ["many"]),
    helper.make_node("Greater", ["x", "zero"], ["above"]),
    helper.make_node("Cast", ["above"], ["flags"], to=TensorProto.FLOAT),
]


def model(nodes: list[Any]) -> Any:
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 50])]
    result = [helper.make_empty_tensor_value_info("r")]
    zero = numpy_helper.from_array(np.float32(0), "zero")
    graph = helper.make_graph(nodes, "g", given, result, [zero])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_shapes_of_a_run_that_do_not_depend_on_its_values() -> None:
    ordered = [*NODES[:3], NODES[4], NODES[5], NODES[3]]
    found = observed(model(ordered), {"x": (2, 50)}, ["r", "many", "s"])
    assert found == {"r": (2, 50), "s": (2,)}


def test_a_model_that_does_not_run_shows_nothing() -> None:
    bad = [helper.make_node("Foo", ["x"], ["r"], domain="own")]
    assert observed(model(bad), {"x": (2, 50)}, ["r"]) == {}


def test_a_model_that_asks_for_all_memory_shows_nothing() -> None:
    size = numpy_helper.from_array(np.array([1 << 20, 1 << 18]), "size")
    wide = [helper.make_node("Constant", [], ["size"], value=size)]
    wide.append(helper.make_node("ConstantOfShape", ["size"], ["big"]))  # a terabyte
    wide.append(helper.make_node("Identity", ["x"], ["r"]))
    assert observed(model(wide), {"x": (2, 50)}, ["r", "big"]) == {}
