"""Which convolutions are on the blocked layout, on made graphs and on onnxruntime's own."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.devices.runner import Sessions
from edgeprune.deploy.gate.kernel_layout import Layout, layout

Graph = Callable[..., bytes]
NCHWC = "com.microsoft.nchwc"


def test_layout_names_plain_convolutions_and_reorders(graph: Graph) -> None:
    found = layout(graph(NCHWC, "", NCHWC, reorders=["gap"]))
    assert found.blocked == ("y0", "y2")
    assert found.plain == ("w1",)
    assert found.reorders == ("after gap",)
    assert found.describe() == "2 of 3 blocked; plain: w1; reorders: after gap"


def test_left_is_what_the_reference_keeps(graph: Graph) -> None:
    reference = layout(graph(NCHWC, NCHWC, ""))
    assert layout(graph(NCHWC, "", "")).left(reference) == ("w1",)
    assert layout(graph(NCHWC, NCHWC, "")).left(reference) == ()


def test_a_machine_without_the_layout_has_none_to_leave(graph: Graph) -> None:
    assert layout(graph("", "")).left(layout(graph("", ""))) == ()
    assert layout(graph("", "", "")).left(layout(graph(""))) == ()


def chain(groups: dict[str, int], *, norm: bool = False) -> bytes:
    """3x3 convolutions of 16 channels in a row, by module name; nodes are numbered."""
    random, nodes, weights, last = np.random.default_rng(0), [], [], "input"

    def weight(name: str, *dims: int) -> str:
        weights.append(numpy_helper.from_array(random.random(dims, np.float32) + 0.5, name))
        return name

    for number, (name, group) in enumerate(groups.items()):
        kernel = weight(f"{name}.weight", 16, 16 // group, 3, 3)
        nodes.append(helper.make_node("Conv", [last, kernel], [f"c{number}"], pads=[1] * 4))
        nodes[-1].attribute.append(helper.make_attribute("group", group))
        nodes[-1].name, last = f"node_conv{number}", f"c{number}"
        if norm:
            four = [weight(f"{name}.{part}", 16) for part in ("scale", "bias", "mean", "var")]
            nodes.append(helper.make_node("BatchNormalization", [last, *four], [f"n{number}"]))
            last = f"n{number}"
        nodes.append(helper.make_node("Relu", [last], [f"r{number}"]))
        last = f"r{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["out"]))
    made = {"input": [1, 16, 8, 8], "out": [1, 16, 1, 1]}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n, dims in made.items()]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return onnx.ModelProto.SerializeToString(model)


def on_this_machine(model: bytes) -> Layout:
    job = {
        "models": [model],
        "names": ["m"],
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
        "optimisation": "all",
        "clock": "cpu",
    }
    found = layout(Sessions(onnxruntime, job).optimised_graph(0))
    if not found.blocked:
        pytest.skip("onnxruntime has no blocked layout for this processor")
    return found


@pytest.mark.parametrize("norm", [False, True])
def test_a_dropped_convolution_renumbers_nodes_and_moves_none(norm: bool) -> None:
    whole = {"stem": 1, "layer1.0.conv1": 1, "layer1.0.conv2": 4, "layer2": 1}
    dense = on_this_machine(chain(whole, norm=norm))
    dropped = {name: group for name, group in whole.items() if name != "layer1.0.conv1"}
    slim = on_this_machine(chain(dropped, norm=norm))
    assert dense.plain == slim.plain == ("layer1.0.conv2",)
    assert slim.left(dense) == ()
    grouped = on_this_machine(chain(dropped | {"layer2": 4}, norm=norm))
    assert grouped.left(dense) == ("layer2",)


def test_numbered_weights_count_only_where_there_are_more() -> None:
    dense = Layout(("y0",), ("onnx::Conv_21", "onnx::Conv_30"), ())
    assert Layout(("y0",), ("onnx::Conv_12", "onnx::Conv_15"), ()).left(dense) == ()
    more = Layout(("y0",), ("onnx::Conv_12", "onnx::Conv_15", "onnx::Conv_18"), ())
    assert len(more.left(dense)) == 1


def test_names_of_the_file_stay_on_one_line() -> None:
    found = on_this_machine(chain({"stem": 1, "a\n::error::b\x1b[2J": 4, "layer2": 1}))
    assert found.plain == ("a ::error::b [2J",)
    assert found.describe().isprintable()
