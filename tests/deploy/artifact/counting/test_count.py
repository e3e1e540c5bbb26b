"""Counts that are complete, or say by name what is not in them."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact.counting.count import Count, count_macs, count_params

SHAPE = {"x": (1, 3, 8, 8)}
CONV = 8 * 64 * 27  # macs of 8 channels by 8 x 8 positions over 3 channels of 3 x 3


def weight(name: str, *dims: int) -> Any:
    return numpy_helper.from_array(np.full(dims, 0.1, np.float32), name)


def conv(into: str, out: str, kernel: str = "w") -> Any:
    return helper.make_node("Conv", [into, kernel], [out], pads=[1] * 4)


def model_of(nodes: list[Any], stored: list[Any] = (), **more: Any) -> Any:  # type: ignore[assignment]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE["x"])
    result = [helper.make_empty_tensor_value_info("y")]
    sparse = more.pop("sparse", [])
    graph = helper.make_graph(nodes, "g", [given], result, list(stored), sparse_initializer=sparse)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, **more)


def body(nodes: list[Any], inputs: list[Any], outputs: list[str], stored: list[Any] = ()) -> Any:  # type: ignore[assignment]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    return helper.make_graph(nodes, "body", inputs, results, list(stored))


def both(model: Any) -> tuple[tuple[int, str], tuple[int, str]]:
    macs, params = count_macs(model, SHAPE), count_params(model)
    return (macs.total, macs.lacking), (params.total, params.lacking)


def as_constant(**value: Any) -> Any:
    return helper.make_node("Constant", [], ["w"], **value)


def sparse(*dims: int) -> Any:
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    places = numpy_helper.from_array(np.array([0, 5]), "at")
    return helper.make_sparse_tensor(values, places, dims)


def test_weights_may_be_stored_in_any_way() -> None:
    plain = both(model_of([conv("x", "y")], [weight("w", 8, 3, 3, 3)]))
    assert plain == ((CONV, ""), (216, ""))
    assert both(model_of([as_constant(value=weight("", 8, 3, 3, 3)), conv("x", "y")])) == plain
    given = as_constant(sparse_value=sparse(8, 3, 3, 3))
    assert both(model_of([given, conv("x", "y")])) == plain
    flat = as_constant(value_floats=[0.5] * 216)
    shape = numpy_helper.from_array(np.array([8, 3, 3, 3]), "s")
    reshaped = helper.make_node("Reshape", ["w", "s"], ["v"])
    assert both(model_of([flat, reshaped, conv("x", "y", "v")], [shape])) == plain
    assert count_params(model_of([conv("x", "y")], sparse=[sparse(8, 3, 3, 3)])).total == 216


def test_a_weight_that_is_used_twice_counts_once() -> None:
    model = model_of([conv("x", "h"), conv("h", "y")], [weight("w", 3, 3, 3, 3)])
    assert count_params(model).total == 81


def test_a_function_is_what_it_calls() -> None:
    inside = [helper.make_node("Conv", ["a", "b"], ["c"], pads=[1] * 4)]
    opset = [helper.make_opsetid("", 17)]
    block = helper.make_function("own", "Block", ["a", "b"], ["c"], inside, opset)
    node = helper.make_node("Block", ["x", "w"], ["y"], domain="own")
    model = model_of([node], [weight("w", 8, 3, 3, 3)], functions=[block])
    assert both(model) == ((CONV, ""), (216, ""))
    assert both(model_of([node], [weight("w", 8, 3, 3, 3)]))[0] == (0, "1 own.Block")


def test_functions_without_an_end_are_refused() -> None:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def calls(name: str, other: str, times: int) -> Any:
        nodes = [helper.make_node(other, ["a"], [f"c{n}"], domain="own") for n in range(times)]
        return helper.make_function("own", name, ["a"], ["c0"], nodes, opset)

    start = [helper.make_node("F0", ["x"], ["y"], domain="own")]
    circle = model_of(start, functions=[calls("F0", "F1", 1), calls("F1", "F0", 1)])
    assert both(circle)[0] == (0, "1 local functions that call themselves")
    doubling = [calls(f"F{n}", f"F{n + 1}", 2) for n in range(40)]
    assert both(model_of(start, functions=doubling))[1] == (
        0,
        "1 local functions of too many operators",
    )


def test_a_branch_counts_as_its_larger_side() -> None:
    branches = {
        "then_branch": body([conv("x", "a", "v")], [], ["a"], [weight("v", 8, 3, 3, 3)]),
        "else_branch": body([conv("x", "b", "u")], [], ["b"], [weight("u", 4, 3, 3, 3)]),
    }
    yes = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["y"], **branches)
    assert both(model_of([node], [yes])) == ((CONV, ""), (216 + 108, ""))
    foreign = helper.make_node("Foo", ["x"], ["b"], domain="own")
    branches["else_branch"] = body([foreign], [], ["b"])
    node = helper.make_node("If", ["yes"], ["y"], **branches)
    assert both(model_of([node], [yes]))[0] == (CONV, "1 own.Foo")


def loop(trips: Any, goes_on: Any) -> Any:
    """A Loop whose body convolves its state, which keeps its shape."""
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
    ]
    inside = body([*goes_on, conv("s", "t")], inputs, ["d", "t"])
    stored = [
        weight("w", 3, 3, 3, 3),
        numpy_helper.from_array(np.array(5), "five"),
        numpy_helper.from_array(np.array(True), "yes"),
    ]
    start = helper.make_node("ReduceSum", ["x"], ["computed"], keepdims=0)
    cast = helper.make_node("Cast", ["computed"], ["many"], to=TensorProto.INT64)
    return model_of(
        [start, cast, helper.make_node("Loop", [trips, "yes", "x"], ["y"], body=inside)], stored
    )


def test_a_loop_counts_as_often_as_it_runs() -> None:
    kept = [helper.make_node("Identity", ["c"], ["d"])]
    assert both(loop("five", kept)) == ((5 * 3 * 64 * 27, ""), (81, ""))
    assert both(loop("many", kept))[0] == (0, "1 Loop")
    asked = [helper.make_node("Less", ["i", "five"], ["d"])]
    assert both(loop("five", asked))[0] == (0, "1 Loop")


def scan(kernel: tuple[int, ...]) -> Any:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "hr"]
    nodes = [
        helper.make_node("MatMul", ["r", "w"], ["p"]),
        helper.make_node("Identity", ["p"], ["h1"]),
    ]
    inside = body(nodes, inputs, ["h1", "p"])
    node = helper.make_node(
        "Scan", ["s", "x"], ["z", "y"], body=inside, num_scan_inputs=1, scan_input_axes=[2]
    )
    return model_of([node], [weight("w", *kernel), weight("s", 1, 3, 8)])


def test_a_scan_counts_as_often_as_its_input_is_long() -> None:
    assert both(scan((8, 8))) == ((8 * 3 * 8 * 8, ""), (64, ""))
    assert both(scan((8, 4)))[0] == (0, "1 Scan")  # a state that changes its shape


def test_what_the_file_says_about_shapes_inside_is_not_believed() -> None:
    model = model_of(
        [conv("x", "h"), conv("h", "y", "v")], [weight("w", 8, 3, 3, 3), weight("v", 1, 8, 3, 3)]
    )
    model.graph.value_info.append(
        helper.make_tensor_value_info("h", TensorProto.FLOAT, (1, 8, 1, 1))
    )
    assert count_macs(model, SHAPE).total == CONV + 64 * 72


def unshaped() -> Any:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Abs", ["s"], ["t"]),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        conv("r", "y"),
    ]
    return model_of(nodes, [weight("w", 8, 3, 3, 3)])


def test_a_shape_that_nobody_knows_is_no_scalar() -> None:
    assert both(unshaped())[0] == (0, "1 Conv of unknown shape")
    seen = count_macs(
        unshaped(), SHAPE, lambda names: {name: (1, 3, 8, 8) for name in names if name == "r"}
    )
    assert seen == Count(CONV, {}, observed=1)
    # Nothing on random input may be something on real data.
    empty = count_macs(unshaped(), SHAPE, lambda _: {"r": (0, 3, 8, 8), "y": (0, 8, 8, 8)})
    assert empty.lacking == "1 Conv of unknown shape"
    plain = model_of([conv("x", "y")], [weight("w", 8, 3, 3, 3)])
    short = count_macs(plain, {"x": (1, 3, 0, 8)})
    assert (short.total, short.lacking) == (0, "1 Conv of an empty tensor")


def test_computed_weights_are_said() -> None:
    twice = helper.make_node("Mul", ["w", "w"], ["v"])
    model = model_of([twice, conv("x", "y", "v")], [weight("w", 8, 3, 3, 3)])
    assert both(model) == ((CONV, ""), (0, "1 Conv with a computed weight"))
    attention = model_of([helper.make_node("MatMul", ["x", "x"], ["y"])])
    assert both(attention) == ((3 * 8 * 8 * 8, ""), (0, ""))


def test_a_weight_that_is_cut_counts_whole_and_once() -> None:
    cut = helper.make_node("Split", ["w"], ["a", "b"], axis=0)
    nodes = [cut, conv("x", "h", "a"), conv("h", "y", "b")]
    assert both(model_of(nodes, [weight("w", 6, 3, 3, 3)])) == ((2 * 3 * 64 * 27, ""), (162, ""))


def test_a_constant_of_another_type_than_its_name_says_is_none() -> None:
    wrong = as_constant(value=[1, 2], sparse_value=1.0)
    assert both(model_of([wrong, conv("x", "y")]))[1] == (0, "1 Conv with a computed weight")


def test_what_else_is_learned() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["i"]),
        helper.make_node("Add", ["i", "b2"], ["j"]),
        helper.make_node("Gather", ["table", "at"], ["rows"]),
        helper.make_node("PRelu", ["j", "slope"], ["y"]),
    ]
    stored = [weight("w", 8, 5), weight("b", 5), weight("b2", 5), weight("slope", 3, 1, 1)]
    stored += [weight("table", 10, 2), numpy_helper.from_array(np.array(1), "at")]
    assert count_params(model_of(nodes, stored)).total == 40 + 5 + 20 + 3


def test_unknown_operators_are_named_by_domain() -> None:
    nodes = [
        helper.make_node("Foo", ["x"], ["h"], domain="own"),
        helper.make_node("Foo", ["h"], ["i"], domain="own"),
        helper.make_node("Det", ["i"], ["y"]),
    ]
    (_, macs), (_, params) = both(model_of(nodes))
    assert macs == "2 own.Foo, 1 Det"
    assert params == "2 own.Foo"  # a Det stores nothing


@pytest.mark.parametrize("dims", [(1 << 40, 1 << 40), (-5, 3)])
def test_sizes_that_cannot_be(dims: tuple[int, ...]) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [onnx.TensorProto(name="w", dims=dims, data_type=1)],
    )
    assert count_macs(model, {"x": (1 << 20, 1 << 40)}).lacking
    assert count_params(model).lacking
