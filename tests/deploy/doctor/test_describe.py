"""What inspect says of files of ours and of others', and of those that lie."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact import seal
from edgeprune.deploy.artifact.parity_samples import pack
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.deploy.doctor.describe import describe, widths_of
from edgeprune.errors import InputError
from tests.graphs import chain

RECORD = Provenance(
    version="0.1.0",
    model="chain",
    plan={"schema": 1, "model": "chain", "kept": {"conv0": [0, 1]}},
    target="mobile-cpu",
    target_sha256="0" * 64,
    input_shape=(3, 16, 16),
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    classes=("a", "b"),
    dense_widths={"conv0": 32, "conv1": 32, "head": 10},
    macs=1234,
    params=567,
    accuracy_dense=0.9,
    accuracy_slim=0.88,
    parity=pack(np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 10))),
)


def sealed(path: Path, **changes: Any) -> Path:
    seal.write(path, chain(16, 32), RECORD.model_copy(update=changes))
    return path


def test_a_file_of_ours_tells_everything(tmp_path: Path) -> None:
    found = describe(sealed(tmp_path / "model.onnx"))
    assert (found.seal, found.provenance) == ("intact", RECORD)
    widths = [(w.name, w.kind, w.inputs, w.dense, w.outputs) for w in found.widths]
    assert widths == [
        ("conv0", "Conv", 3, 32, 16),
        ("conv1", "Conv", 16, 32, 32),
        ("head", "Gemm", 32, 10, 10),
    ]
    text = found.to_text()
    for words in ("intact", "1 channel groups", "mobile-cpu", "dense 90.00%, slim 88.00%"):
        assert words in text
    assert "2 images travel inside" in text
    assert "3 -> 32 -> 16" in text
    assert "16 -> 32\n" in text
    body = json.loads(found.to_json())
    assert body["provenance"]["parity_images"] == 2
    assert "parity" not in body["provenance"]  # pixels are no description
    assert body["widths"][0]["dense"] == 32


def test_a_foreign_file_says_what_it_does_not_have(tmp_path: Path) -> None:
    onnx.save(chain(16, 32), tmp_path / "m.onnx")
    found = describe(tmp_path / "m.onnx")
    assert (found.seal, found.provenance) == (None, None)
    assert found.macs is not None
    assert "edgeprune did not export this file" in found.to_text()
    assert json.loads(found.to_json())["provenance"] is None


def test_a_broken_seal_is_told_and_not_raised(tmp_path: Path) -> None:
    proto = onnx.load(sealed(tmp_path / "m.onnx"))
    values = numpy_helper.to_array(proto.graph.initializer[0]) + 1
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "conv0.weight"))
    onnx.save(proto, tmp_path / "m.onnx")
    found = describe(tmp_path / "m.onnx")
    assert found.seal is not None
    assert "weights" in found.seal
    assert found.provenance == RECORD


def test_entries_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    proto = chain(16)
    helper.set_model_props(proto, {"edgeprune.macs": "many", "edgeprune.seal": "0"})
    onnx.save(proto, tmp_path / "m.onnx")
    found = describe(tmp_path / "m.onnx")
    assert found.provenance is None
    assert found.seal


def test_widths_before_slimming_come_from_the_dense_file_beside(tmp_path: Path) -> None:
    sha256 = seal.write(tmp_path / "dense.onnx", chain(24, 32), RECORD)
    path = sealed(tmp_path / "model.onnx", dense_widths=None, dense_sha256=sha256)
    assert [width.dense for width in describe(path).widths] == [24, 32, 10]
    other = sealed(tmp_path / "other.onnx", dense_widths=None, dense_sha256="1" * 64)
    assert [width.dense for width in describe(other).widths] == [None] * 3


def test_what_cannot_be_counted_is_unknown(tmp_path: Path) -> None:
    proto = chain(16)
    proto.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    onnx.save(proto, tmp_path / "m.onnx")
    found = describe(tmp_path / "m.onnx")
    assert found.macs is None
    assert "2 inputs" in found.uncounted
    assert "MACs           unknown" in found.to_text()


def test_a_file_that_does_not_run_is_described(tmp_path: Path) -> None:
    proto = chain(16)
    proto.graph.node[0].input[0] = "nowhere"
    onnx.save(proto, tmp_path / "m.onnx")
    assert describe(tmp_path / "m.onnx").kernels.startswith("unknown")


def test_quantised_and_transposed_layers_have_their_own_order() -> None:
    weights = {
        "a": np.zeros((6, 4, 3, 3), np.int8),
        "b": np.zeros((6, 5, 3, 3), np.float32),
        "c": np.zeros((7, 9), np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "s"], ["aa"]),
        helper.make_node("Conv", ["x", "aa"], ["y1"], group=2, name="n1"),
        helper.make_node("ConvTranspose", ["y1", "b"], ["y2"], name="n2"),
        helper.make_node("MatMul", ["y2", "c"], ["y3"], name="n3"),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    proto = helper.make_model(helper.make_graph(nodes, "g", [], [], tensors))
    found = [(w.inputs, w.outputs, w.groups) for w in widths_of(proto, {})]
    assert found == [(8, 6, 2), (6, 5, 1), (7, 9, 1)]


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    proto = chain(16)
    proto.producer_name = "evil\x1b[31m\n::error::"
    proto.graph.node[0].name = "a\nb"
    onnx.save(proto, tmp_path / "m.onnx")
    text = describe(tmp_path / "m.onnx").to_text()
    assert "\x1b" not in text
    assert "\n::error" not in text


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match="not an ONNX file"):
        describe(tmp_path / "m.onnx")
