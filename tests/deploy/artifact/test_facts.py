"""What a file says without a clock: hand arithmetic, and one clear line for bad files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact.facts import read, resolve
from edgeprune.errors import InputError

Net = Callable[..., bytes]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_counts_of_a_small_network(net: Net, tmp_path: Path) -> None:
    facts = read(write(tmp_path / "m.onnx", net(8)))
    first, second, linear = 8 * 8 * 8 * 3 * 9, 4 * 4 * 8 * 8, 8 * 4
    assert facts.macs.total == first + second + linear
    assert facts.params.total == (8 * 3 * 9 + 8) + 8 * 8 + (8 * 4 + 4)
    assert facts.input_shape == (1, 3, 8, 8)
    assert facts.file_bytes == len(net(8))


def one(
    op: str, dims: dict[str, list[int]], weights: dict[str, list[int]], **attributes: Any
) -> Any:
    """A graph of one node; inputs in the order given, the output inferred."""
    node = helper.make_node(op, [*dims, *weights], ["y"], **attributes)
    data = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in dims.items()]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(np.ones(v, np.float32), k) for k, v in weights.items()]
    graph = helper.make_graph([node], "g", data, result, tensors)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


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


@pytest.mark.parametrize(
    ("axes", "pinned", "sizes"),
    [
        ([1, 3, 8, 8], None, (1, 3, 8, 8)),
        (["batch", 3, 8, 8], None, (1, 3, 8, 8)),
        (["batch", 3, "h", "w"], (2, 3, 16, 16), (2, 3, 16, 16)),
        (["?", 3, 8, 8], (4, 3, 8, 8), (4, 3, 8, 8)),
    ],
)
def test_resolve(axes: list[int | str], pinned: Any, sizes: tuple[int, ...]) -> None:
    assert resolve(axes, pinned, "m") == sizes


@pytest.mark.parametrize(
    ("axes", "pinned", "words"),
    [
        (["batch", 3, "h", 8], None, "leaves its input open"),
        ([1, 3, 8, 8], (1, 3, 16, 16), "pins input.shape"),
        ([1, 3], (1, 3, 16, 16), "pins input.shape"),
    ],
)
def test_resolve_refuses(axes: list[int | str], pinned: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolve(axes, pinned, "m")


def test_open_axes_are_counted_at_their_pinned_size(net: Net, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", net(8, ("n", 3, "h", "w")))
    assert read(path, (1, 3, 8, 8)).macs == read(write(tmp_path / "f.onnx", net(8))).macs
    with pytest.raises(InputError, match=r"set input\.shape"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08"], ids=["empty", "text", "half"])
def test_not_an_onnx_file(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an ONNX file"):
        read(write(tmp_path / "m.onnx", content))


def test_a_truncated_file(net: Net, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="truncated"):
        read(write(tmp_path / "m.onnx", net(8)[:-20]))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "m.onnx")


def test_several_inputs(tmp_path: Path) -> None:
    model = one("Add", {"a": [1, 2], "b": [1, 2]}, {})
    with pytest.raises(InputError, match=r"2 inputs \(a, b\)"):
        read(write(tmp_path / "m.onnx", model.SerializeToString()))


def test_weights_listed_as_inputs_are_not_inputs(net: Net, tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(net(8))
    listed = helper.make_tensor_value_info("w1", TensorProto.FLOAT, [8, 3, 3, 3])
    model.graph.input.append(listed)
    assert read(write(tmp_path / "m.onnx", model.SerializeToString())).input_shape == (1, 3, 8, 8)


@pytest.mark.parametrize("name", ["Conv", "GlobalAveragePool"])
def test_a_name_that_is_no_text(net: Net, tmp_path: Path, name: str) -> None:
    content, cut = net(4), name.encode()
    assert cut in content
    damaged = write(tmp_path / "m.onnx", content.replace(cut, b"\xff" * len(cut), 1))
    with pytest.raises(InputError, match="a name in it is no text"):
        read(damaged)
