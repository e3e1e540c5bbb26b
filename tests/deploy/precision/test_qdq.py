"""Quantisation: int8 weights, 8-bit activations, and what is to stay in float."""

import builtins
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.ranges import observed
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

U8S8 = Scheme()


def weights(proto: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in proto.graph.initializer}


def test_weights_are_int8_and_answers_stay_near(proto: onnx.ModelProto, images: list[Any]) -> None:
    ranges = observed(proto, images, "minmax")
    before = proto.SerializeToString()
    made = quantised(proto, ranges, U8S8)
    assert proto.SerializeToString() == before
    assert made.SerializeToString() == quantised(proto, ranges, U8S8).SerializeToString()
    kinds = weights(made)
    assert {kinds[f"w{n}_quantized"] for n in (1, 2, 3)} == {TensorProto.INT8}
    answers = [
        open_session(m.SerializeToString(), Runtime()).run(images[0]) for m in (proto, made)
    ]
    scale = np.abs(answers[0]).max()
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.05 * scale


def test_seven_bits_of_a_weight_where_eight_would_overflow(
    proto: onnx.ModelProto, images: list[Any]
) -> None:
    ranges = observed(proto, images, "minmax")
    largest = {}
    for reduced in (False, True):
        made = quantised(proto, ranges, Scheme(reduced=reduced))
        weight = next(t for t in made.graph.initializer if t.name == "w1_quantized")
        largest[reduced] = int(np.abs(onnx.numpy_helper.to_array(weight)).max())
    assert largest == {False: 127, True: 64}


def test_a_layer_stays_in_float_by_its_node(proto: onnx.ModelProto, images: list[Any]) -> None:
    made = quantised(proto, observed(proto, images, "minmax"), U8S8, ["conv2"])
    kinds = weights(made)
    assert kinds["w2"] == TensorProto.FLOAT
    assert "w2_quantized" not in kinds
    with pytest.raises(InputError, match="no node 'conv9'"):
        quantised(proto, {}, U8S8, ["conv9"])


def test_a_tensor_without_a_range_is_one_line(proto: onnx.ModelProto) -> None:
    with pytest.raises(MachineError, match="does not quantise the model"):
        quantised(proto, {}, U8S8)


def test_a_runtime_without_its_quantiser(
    proto: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime" and rest[2] == ("quantization",):
            raise ImportError("No module named 'onnxruntime.quantization'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MachineError, match=r"int8 needs onnxruntime\.quantization"):
        quantised(proto, {}, U8S8)
