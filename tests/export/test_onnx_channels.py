"""Channels followed through a graph made by hand, and what cannot be followed."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.export.onnx_channels import followed
from edgeprune.export.onnx_rules import CannotCutError

IDS = np.array([1, 2, 3, 4, 5, 6])


def graph(nodes: list[Any], constants: dict[str, Any] | None = None) -> onnx.GraphProto:
    """A graph on ``x`` (1, 6, 4, 4); ``y`` is what it makes."""
    floats = TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", floats, [1, 6, 4, 4])],
        [helper.make_tensor_value_info("y", floats, None)],
        [numpy_helper.from_array(np.array(v), name) for name, v in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)])
    return onnx.shape_inference.infer_shapes(model, data_prop=True).graph


def after(nodes: list[Any], constants: dict[str, Any] | None = None) -> dict[int, list[int]]:
    known, _ = followed(graph(nodes, constants), {"x": {1: IDS}})
    return {axis: ids.tolist() for axis, ids in known["y"].ids.items()}


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "constants", "expected"),
    [
        ("Relu", "x", {}, {}, {1: IDS.tolist()}),
        ("Transpose", "x", {"perm": [0, 2, 3, 1]}, {}, {3: IDS.tolist()}),
        ("Reshape", "x s", {}, {"s": [1, -1]}, {1: np.repeat(IDS, 16).tolist()}),
        ("Slice", "x a b c", {}, {"a": [1], "b": [3], "c": [1]}, {1: [2, 3]}),
        ("Slice", "x a b c d", {}, {"a": [0], "b": [9], "c": [1], "d": [2]}, {1: [1, 3, 5]}),
        ("Pad", "x p", {}, {"p": [0, 1, 0, 0, 0, 0, 1, 1]}, {1: [0, *IDS.tolist()]}),
        ("Concat", "x x", {"axis": 1}, {}, {1: [*IDS.tolist()] * 2}),
        ("ReduceMean", "x a", {"keepdims": 0}, {"a": [2, 3]}, {1: IDS.tolist()}),
        ("ReduceMean", "x a", {"keepdims": 1}, {"a": [1]}, {}),
        ("Softmax", "x", {"axis": 1}, {}, {1: IDS.tolist()}),
        ("MatMul", "x w", {}, {"w": np.ones((4, 3), np.float32)}, {1: IDS.tolist()}),
        ("Add", "x w", {}, {"w": np.ones((6, 1, 1), np.float32)}, {1: IDS.tolist()}),
    ],
)
def test_what_an_operator_does_to_channels(
    kind: str,
    inputs: str,
    attributes: dict[str, Any],
    constants: dict[str, Any],
    expected: dict[int, list[int]],
) -> None:
    assert (
        after([helper.make_node(kind, inputs.split(), ["y"], **attributes)], constants) == expected
    )


def test_channels_that_go_as_one_keep_their_axis() -> None:
    """Channels of one normalisation group have one id: nothing differs along a slice of them."""
    nodes = [helper.make_node("Slice", ["x", "a", "b", "c"], ["y"])]
    ids = {"x": {1: np.array([1, 1, 1, 2, 2, 2])}}
    known, _ = followed(graph(nodes, {"a": [0], "b": [3], "c": [1]}), ids)
    assert known["y"].ids[1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("nodes", "constants", "said"),
    [
        ([("LRN", "x", "y", {"size": 3})], {}, "no rule for LRN on channels"),
        ([("Reshape", "x s", "y", {})], {"s": [1, 2, 3, 4, 4]}, "two axes"),
        (
            [("Conv", "x w", "y", {})],
            {"w": np.ones((2, 6, 1, 1), np.float32)},
            "of its own accord",
        ),
        ([("MatMul", "x x", "y", {})], {}, None),
        (
            [("Transpose", "x", "t", {"perm": [0, 2, 1, 3]}), ("MatMul", "x t", "y", {})],
            {},
            "of its own accord",
        ),
    ],
)
def test_what_cannot_be_followed_is_named(
    nodes: list[tuple[str, str, str, dict[str, Any]]], constants: dict[str, Any], said: str | None
) -> None:
    made = [
        helper.make_node(kind, inputs.split(), [output], **attributes)
        for kind, inputs, output, attributes in nodes
    ]
    if said is None:
        assert after(made, constants) == {1: IDS.tolist()}
        return
    with pytest.raises(CannotCutError, match=said):
        after(made, constants)
