"""Every cause is named in a file made to have it, and in no clean one; no clock is read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.doctor import causes, in_graph, in_profile
from edgeprune.deploy.doctor.case import Case
from edgeprune.deploy.doctor.findings import CAUSES, Suspect
from edgeprune.deploy.doctor.inputs import settle
from edgeprune.deploy.doctor.look import File, Look
from edgeprune.deploy.timing.pacing import Pace
from edgeprune.target import Runtime
from tests.graphs import answers, chain, optimised, profile


def case(
    proto: Any, nodes: Sequence[Mapping[str, Any]] | None = None, side: int | None = 16
) -> Case:
    graph = optimised(proto)
    asked = {"": (1, 3, side, side)} if side else {}
    seen = Look(
        file=File(Path("a file.onnx"), proto, settle(proto, asked)),
        optimised=graph,
        nodes=tuple(nodes or profile(graph)),
        pace=Pace(0.01, 0.001),
        finite=True,
        machine={},
    )
    return Case(
        seen=seen,
        layers=seen.layers(1.0),
        ms=1.0,
        runtime=Runtime(),
        graphs=lambda models: [optimised(onnx.ModelProto.FromString(m)) for m in models],
        target="mobile-cpu",
    )


def named(proto: Any) -> dict[str, Suspect]:
    return {suspect.cause: suspect for suspect in causes.suspects(case(proto))}


def bytes_of(suspect: Suspect, place: int = 0) -> Any:
    model = suspect.trials[place].model
    assert isinstance(model, bytes)
    return onnx.ModelProto.FromString(model)


def clean() -> Any:
    # Wide enough that the change of layout before the classifier is not worth a word.
    return chain(16, 32, 32, 32)


def long_profile(proto: Any) -> list[dict[str, Any]]:
    """Convolutions take a hundred times as long as everything else."""
    lines = profile(optimised(proto))
    return [{**line, "ns": 100_000 if "Conv" in line["op"] else 1000} for line in lines]


def test_a_clean_file_has_none() -> None:
    proto = clean()
    assert causes.suspects(case(proto, long_profile(proto))) == []


def test_every_cause_has_words_for_its_absence() -> None:
    proto = clean()
    for name in ("onnxruntime", "edgeprune"):
        assert name not in CAUSES
    assert {each.cause for each in causes.suspects(case(proto))} <= set(CAUSES)


@pytest.mark.usefixtures("blocks")
def test_an_off_grid_width_is_named_with_the_next_that_fit() -> None:
    proto = chain(22, 32, 32)
    suspect = named(proto)["off-grid channels"]
    assert suspect.layer == "conv1"
    assert "conv0 gives 22 channels" in suspect.what
    assert "24 and 20" in suspect.what
    assert [trial.same_answers for trial in suspect.trials] == [True, False]
    np.testing.assert_allclose(answers(bytes_of(suspect)), answers(proto), rtol=1e-4, atol=1e-5)
    assert named(bytes_of(suspect)).keys().isdisjoint({"off-grid channels"})


@pytest.mark.usefixtures("blocks")
def test_several_off_grid_widths_are_tried_together_first() -> None:
    found = [
        suspect
        for suspect in causes.suspects(case(chain(22, 30, 32)))
        if suspect.cause == "off-grid channels"
    ]
    assert [suspect.layer for suspect in found] == ["2 convolutions", "conv1", "conv2"]
    together = causes.suspects(case(bytes_of(found[0])))
    assert "off-grid channels" not in {suspect.cause for suspect in together}


@pytest.mark.usefixtures("blocks")
def test_a_width_that_the_input_holds_is_named_and_not_tried() -> None:
    proto = chain(16, 32)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 18
    kernel = np.zeros((16, 18, 3, 3), np.float32)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "conv0.weight"))
    (suspect,) = in_graph.off_grid_channels(case(proto, side=None))
    assert suspect.layer == "conv0"
    assert "the model's input or output holds the width" in suspect.what
    assert suspect.trials == ()


@pytest.mark.usefixtures("blocks")
def test_a_bias_that_is_reshaped_and_added_holds_no_width() -> None:
    proto = chain(22, 32)
    first = proto.graph.node[0]
    del first.input[2:]
    first.output[0] = "plain"
    sizes = numpy_helper.from_array(np.array([1, 22, 1, 1]), "sizes")
    proto.graph.initializer.append(sizes)
    for made in (
        helper.make_node("Add", ["plain", "bias"], ["c0"]),
        helper.make_node("Reshape", ["conv0.bias", "sizes"], ["bias"]),
    ):
        proto.graph.node.insert(1, made)
    suspect = named(proto)["off-grid channels"]
    assert suspect.layer == "conv1"
    np.testing.assert_allclose(answers(bytes_of(suspect)), answers(proto), rtol=1e-4, atol=1e-5)


def test_weights_that_are_inputs_are_named() -> None:
    proto = clean()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims))
        )
    suspect = named(proto)["weights as graph inputs"]
    assert suspect.layer == f"{len(proto.graph.initializer)} weights"
    assert suspect.stake_ms == 1.0
    assert "remove_initializer_from_input --input 'a file.onnx'" in suspect.next
    assert len(bytes_of(suspect).graph.input) == 1


def test_denormal_weights_are_counted() -> None:
    proto = clean()
    weight = numpy_helper.to_array(proto.graph.initializer[2]).copy()
    weight[0, :5, 0, 0] = 1e-41
    proto.graph.initializer[2].CopyFrom(numpy_helper.from_array(weight, "conv1.weight"))
    suspect = named(proto)["denormal weights"]
    assert suspect.layer == "5 values"
    assert suspect.trials[0].change == "zeros in their place"


def test_clutter_is_named_by_kind_with_what_the_runtime_leaves() -> None:
    proto = clean()
    for name in ("r0", "r1"):
        reader = next(node for node in proto.graph.node if name in node.input)
        reader.input[0] = f"{name}_same"
        place = list(proto.graph.node).index(reader)
        same = helper.make_node("Identity", [name], [f"{name}_same"])
        proto.graph.node.insert(place, same)
    suspect = named(proto)["exporter clutter"]
    assert suspect.what.startswith("2 Identity that do nothing")
    assert suspect.what.endswith("runs it: none of them")
    assert "onnxslim" in suspect.next


def test_open_axes_are_named_with_the_command_that_fixes_them() -> None:
    proto = clean()
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_param, dims[3].dim_param = "h", "w"
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "n"
    suspect = named(proto)["open axes"]
    assert "2 sizes" in suspect.what
    assert "--input_shape 1,3,16,16" in suspect.next


def test_a_mean_that_could_be_a_pooling_is_named() -> None:
    proto = clean()
    pool = next(node for node in proto.graph.node if node.op_type == "GlobalAveragePool")
    made = helper.make_node("ReduceMean", list(pool.input), list(pool.output), axes=[2, 3])
    pool.CopyFrom(made)
    suspect = named(proto)["mean instead of pooling"]
    np.testing.assert_allclose(answers(bytes_of(suspect)), answers(proto), rtol=1e-4, atol=1e-5)


def test_grouped_convolutions_without_a_fast_kernel_are_named() -> None:
    proto = chain(16, 16, 16, groups=4)
    suspect = named(proto)["grouped convolutions"]
    assert "conv1" in suspect.layer
    np.testing.assert_allclose(answers(bytes_of(suspect)), answers(proto), rtol=1e-4, atol=1e-5)


def test_reorders_count_by_their_time() -> None:
    proto = chain(16, 32)
    slow = [
        {**line, "ns": 50_000 if line["op"] == "ReorderOutput" else 1000}
        for line in profile(optimised(proto))
    ]
    if not any(line["op"] == "ReorderOutput" for line in slow):
        pytest.skip("onnxruntime has no blocked layout for this processor")
    assert "layout reorders" in {each.cause for each in causes.suspects(case(proto, slow))}
    quick = long_profile(proto)
    assert "layout reorders" not in {each.cause for each in causes.suspects(case(proto, quick))}


def test_float_layers_of_an_int8_file_are_named() -> None:
    proto = clean()
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    zero = numpy_helper.from_array(np.uint8(128), "zero")
    proto.graph.initializer.extend([scale, zero])
    first = proto.graph.node[0]
    first.input[0] = "dequantised"
    proto.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["dequantised"])
    )
    proto.graph.node.insert(
        0, helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["quantised"])
    )
    suspect = named(proto)["float islands"]
    assert suspect.what.startswith("5 of 5 layers run in float")
    assert "conv0" in suspect.layer


def test_products_that_quantise_by_themselves_are_no_float_islands() -> None:
    proto = clean()
    proto.graph.node.insert(0, helper.make_node("QuantizeLinear", ["input", "s", "z"], ["q"]))
    lines = [{"name": "m", "op": "DynamicQuantizeMatMul", "provider": "P", "ns": 5}]
    seen = replace(case(clean()).seen, nodes=tuple(lines))
    seen = replace(seen, file=File(Path("x.onnx"), proto, seen.file.inputs))
    dynamic = replace(case(clean()), seen=seen, layers=seen.layers(1.0))
    assert list(in_profile.float_islands(dynamic)) == []


def test_nodes_on_another_provider_are_named() -> None:
    usual = case(clean())
    here = replace(usual, runtime=Runtime(providers=("CUDAExecutionProvider",)))
    (suspect,) = in_profile.another_provider(here)
    assert "fell from CUDAExecutionProvider to CPUExecutionProvider" in suspect.what
    assert list(in_profile.another_provider(usual)) == []


@pytest.mark.parametrize(("kernel", "which"), [("Conv", "first layer"), ("Gemm", "classifier")])
def test_a_layer_that_dominates_is_named(kernel: str, which: str) -> None:
    proto = chain(16, 32, 32, 32, 32)
    lines = profile(optimised(proto))
    slow = next(line for line in lines if kernel in line["op"])
    slow["ns"] = 100_000
    (suspect,) = in_profile.dominant_layer(case(proto, lines))
    assert which in suspect.what
    assert suspect.stake_ms > 0.3


def test_what_costs_most_comes_first() -> None:
    found = causes.suspects(case(chain(22, 30, 32)))
    stakes = [suspect.stake_ms for suspect in found]
    assert stakes == sorted(stakes, reverse=True)
