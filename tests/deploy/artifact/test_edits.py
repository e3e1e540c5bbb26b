"""Every edit leaves the answers as they are, counts what it did and touches nothing else."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact import edits


def model(nodes: list[Any], weights: dict[str, Any], opset: int = 17, out: int = 4) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    version = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=version, ir_version=8)


def kernel(*dims: int) -> Any:
    return np.random.default_rng(0).standard_normal(dims).astype(np.float32)


def answer(proto: Any) -> Any:
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    given = np.random.default_rng(1).standard_normal((1, 4, 8, 8)).astype(np.float32)
    return session.run(None, {"x": given})[0]


def kinds(proto: Any) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def unchanged(before: Any, after: Any) -> None:
    np.testing.assert_allclose(answer(after), answer(before), rtol=1e-5, atol=1e-5)


def test_weights_are_no_inputs_any_more() -> None:
    proto = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": kernel(4, 4, 1, 1)})
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4, 1, 1]))
    edited, count = edits.weights_inside(proto)
    assert count == 1
    assert [value.name for value in edited.graph.input] == ["x"]
    assert len(proto.graph.input) == 2  # as it was
    unchanged(proto, edited)
    assert edits.weights_inside(edited)[1] == 0


def test_denormals_become_zero_and_the_rest_stays() -> None:
    weight = kernel(4, 4, 1, 1)
    weight[0, :2] = 1e-40
    proto = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": weight})
    edited, count = edits.without_denormals(proto)
    assert count == 2
    found = numpy_helper.to_array(edited.graph.initializer[0])
    np.testing.assert_array_equal(found, np.where(np.abs(weight) < 1e-38, 0, weight))


def test_zero_is_no_denormal() -> None:
    proto = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": kernel(4, 4, 1, 1) * 0})
    assert edits.without_denormals(proto)[1] == 0


def test_nodes_without_effect_go() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Dropout", ["a"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["f"], ["y"]),
    ]
    proto = model(nodes, {})
    edited, gone = edits.uncluttered(proto)
    assert gone == {"Identity": 1, "Dropout": 1, "Transpose": 1, "Cast": 1}
    assert kinds(edited) == ["Relu"]
    unchanged(proto, edited)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Identity", ["x"], ["y"])],  # an output of the graph keeps its name
        [  # not the way back
            helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        [  # a narrower type between rounds
            helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
            helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        [helper.make_node("Relu", ["x"], ["y"])],
    ],
)
def test_nodes_with_an_effect_stay(nodes: list[Any]) -> None:
    edited, gone = edits.uncluttered(model(nodes, {}))
    assert not gone
    assert kinds(edited) == [node.op_type for node in nodes]


def test_a_value_that_a_subgraph_reads_stays() -> None:
    inner = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    edited, gone = edits.uncluttered(model(nodes, {"yes": np.array(True)}))
    assert not gone
    assert answer(edited).shape == (1, 4, 8, 8)


@pytest.mark.parametrize("bias", [True, False])
def test_a_batchnorm_is_folded_into_its_convolution(bias: bool) -> None:
    weights = {"w": kernel(6, 4, 3, 3), "b": kernel(6)} if bias else {"w": kernel(6, 4, 3, 3)}
    norm = {"s": kernel(6), "t": kernel(6) + 1, "m": kernel(6), "v": np.abs(kernel(6)) + 0.1}
    nodes = [
        helper.make_node("Conv", ["x", *weights], ["a"]),
        helper.make_node("BatchNormalization", ["a", *norm], ["y"], epsilon=1e-3),
    ]
    proto = model(nodes, weights | norm)
    edited, gone = edits.uncluttered(proto)
    assert gone == {"BatchNormalization": 1}
    assert kinds(edited) == ["Conv"]
    unchanged(proto, edited)


def test_a_batchnorm_stays_where_others_read_the_convolution() -> None:
    norm = {"s": kernel(4), "t": kernel(4), "m": kernel(4), "v": np.abs(kernel(4)) + 0.1}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *norm], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    assert not edits.uncluttered(model(nodes, {"w": kernel(4, 4, 1, 1)} | norm))[1]


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_spatial_mean_becomes_a_pooling(opset: int, keepdims: int, axes: list[int]) -> None:
    by_input = opset >= 18
    inputs, about = (["x", "axes"], {}) if by_input else (["x"], {"axes": axes})
    node = helper.make_node("ReduceMean", inputs, ["y"], keepdims=keepdims, **about)
    weights = {"axes": np.array(axes)} if by_input else {}
    proto = model([node], weights, opset, out=4 if keepdims else 2)
    edited, count = edits.pooled(proto)
    assert count == 1
    assert kinds(edited) == ["GlobalAveragePool", *([] if keepdims else ["Flatten"])]
    assert not edited.graph.initializer
    unchanged(proto, edited)


def test_other_means_stay() -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=1)
    assert edits.pooled(model([node], {}))[1] == 0


def test_open_sizes_are_pinned() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {})
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    edited, count = edits.pinned(proto, {"x": (1, 4, 8, 8)})
    assert count == 1
    assert [d.dim_value for d in edited.graph.input[0].type.tensor_type.shape.dim] == [1, 4, 8, 8]
    unchanged(proto, edited)
    assert edits.pinned(edited, {"x": (1, 4, 8, 8)})[1] == 0


def test_a_grouped_convolution_becomes_a_dense_one() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    proto = model([node], {"w": kernel(6, 2, 3, 3)})
    edited, count = edits.undivided(proto, ["y"])
    assert count == 1
    assert list(edited.graph.initializer[0].dims) == [6, 4, 3, 3]
    unchanged(proto, edited)
    assert edits.undivided(proto, ["other"])[1] == 0


def test_a_constant_node_is_a_weight_too() -> None:
    constant = helper.make_node(
        "Constant", [], ["w"], value=numpy_helper.from_array(kernel(4, 4, 1, 1), "w")
    )
    proto = model([constant, helper.make_node("Conv", ["x", "w"], ["y"])], {})
    edited = edits.copy_of(proto)
    assert kinds(edited) == ["Conv"]
    unchanged(proto, edited)
