"""What a file says without a clock: hand arithmetic, and one clear line for bad files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.deploy.artifact.facts import read
from edgeprune.errors import InputError
from edgeprune.target import Inputs

Net = Callable[..., bytes]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_counts_of_a_small_network(net: Net, tmp_path: Path) -> None:
    facts = read(write(tmp_path / "m.onnx", net(8)))
    first, second, linear = 8 * 8 * 8 * 3 * 9, 4 * 4 * 8 * 8, 8 * 4
    assert facts.macs.total == first + second + linear
    assert facts.params.total == (8 * 3 * 9 + 8) + 8 * 8 + (8 * 4 + 4)
    assert facts.inputs == {"input": (1, 3, 8, 8)}
    assert facts.file_bytes == len(net(8))


def test_an_integer_network_counts_like_its_float_one(net: Net, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.rows = iter([{"input": np.ones((1, 3, 8, 8), np.float32)}])

        def get_next(self) -> Any:
            return next(self.rows, None)

    plain = write(tmp_path / "f.onnx", net(8))
    quantization.quantize_static(str(plain), str(tmp_path / "q.onnx"), Reader())
    assert read(tmp_path / "q.onnx").macs == read(plain).macs
    assert read(tmp_path / "q.onnx").params == read(plain).params


def test_recorded_numbers(net: Net, tmp_path: Path) -> None:
    facts = read(write(tmp_path / "m.onnx", net(8, macs="123", model="resnet20")))
    assert facts.number("macs") == 123
    assert facts.number("params") is None
    assert facts.number("model") is None
    assert facts.recorded == {"macs": "123", "model": "resnet20"}


def test_open_axes_are_counted_at_their_pinned_size(net: Net, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", net(8, ("n", 3, "h", "w")))
    assert (
        read(path, Inputs(shape=(1, 3, 8, 8))).macs
        == read(write(tmp_path / "f.onnx", net(8))).macs
    )
    with pytest.raises(InputError, match=r"set input\.shape"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08"], ids=["empty", "text", "half"])
def test_not_an_onnx_file(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an ONNX file"):
        read(write(tmp_path / "m.onnx", content))


def test_a_truncated_file(net: Net, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="truncated"):
        read(write(tmp_path / "m.onnx", net(8)[:-20]))


@pytest.mark.parametrize("name", [b"conv1", b"w2"], ids=["node", "weight"])
def test_a_name_that_is_no_text(net: Net, tmp_path: Path, name: bytes) -> None:
    damaged = net(8).replace(name, b"\xff" * len(name))
    with pytest.raises(InputError, match="a name in it is no text"):
        read(write(tmp_path / "m.onnx", damaged))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "m.onnx")


def test_weights_listed_as_inputs_are_not_inputs(net: Net, tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(net(8))
    listed = helper.make_tensor_value_info("w1", TensorProto.FLOAT, [8, 3, 3, 3])
    model.graph.input.append(listed)
    assert read(write(tmp_path / "m.onnx", model.SerializeToString())).inputs == {
        "input": (1, 3, 8, 8)
    }


def test_a_value_is_for_an_input_that_is_there(net: Net, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", net(8))
    assert read(path, Inputs.model_validate({"input": {"value": 0.5}})).values == {"input": 0.5}
    with pytest.raises(InputError, match="no input 'scale', whose value is given"):
        read(path, Inputs.model_validate({"scale": {"value": 0.5}}))
