"""Blocks at fixed widths as ONNX files: they run, they are small, they repeat."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.deploy.devices.job import IR_VERSION, OPSET
from edgeprune.deploy.table.assemble import assemble, in_context
from edgeprune.deploy.table.grid import residual_block
from edgeprune.deploy.table.network import Block, Op, Width

CONV = (("kernel_shape", (3, 3)), ("pads", (1, 1, 1, 1)), ("strides", (1, 1)))


def run(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return session.run(None, {"x": np.ones(shape, np.float32)})[0]


def one(kind: str, made: int, spatial: tuple[int, ...], **how: Any) -> Block:
    """A block of one operator on 8 channels."""
    op = Op(kind=kind, inputs=("in",), output="out", width=Width(made), **how)
    return Block(name="one", ops=(op,), input="in", input_width=Width(8), spatial=spatial)


@pytest.mark.parametrize("widths", [(8, 16, 24), (3, 5, 7), (8, 0, 16)])
def test_a_block_is_a_file_that_runs(downsampling: Block, widths: tuple[int, int, int]) -> None:
    block = downsampling.at(widths)
    model = assemble(block)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert run(model).shape == (1, widths[2], 4, 4)
    assert run(assemble(in_context(block), batch=2)).shape == (2, widths[2], 4, 4)
    assert np.isfinite(run(model)).all()


@pytest.mark.parametrize(
    ("kind", "made", "how", "shape"),
    [
        ("Clip", 8, {"attributes": (("max", 6.0), ("min", 0.0))}, (1, 8, 4, 4)),
        ("BatchNormalization", 8, {}, (1, 8, 4, 4)),
        ("Conv", 8, {"attributes": CONV, "grouping": Width(8)}, (1, 8, 4, 4)),  # depthwise
        ("Conv", 6, {"attributes": CONV, "grouping": Width(2)}, (1, 6, 4, 4)),
        ("Flatten", 128, {"attributes": (("axis", 1),)}, (1, 128)),
        ("GlobalAveragePool", 8, {}, (1, 8, 1, 1)),
    ],
)
def test_every_operator_runs(
    kind: str, made: int, how: dict[str, Any], shape: tuple[int, ...]
) -> None:
    block = one(kind, made, (4, 4), **how)
    assert run(assemble(block)).shape == shape
    assert run(assemble(in_context(block))).shape == shape


def test_a_flat_tensor_has_a_context_too() -> None:
    assert run(assemble(in_context(one("Gemm", 10, ())))).shape == (1, 10)


def test_weights_are_unfolded_and_no_two_are_equal() -> None:
    """Equal constants would be merged, and two layers would take the cache of one."""
    model = assemble(residual_block(64, 64, 8))
    assert len(model) < 3000
    values = [
        onnx.numpy_helper.to_array(node.attribute[0].t)[0]
        for node in onnx.load_from_string(model).graph.node
        if node.op_type == "ConstantOfShape"
    ]
    assert len(set(values)) == len(values) == 4


def test_the_same_block_gives_the_same_bytes_of_the_opset_we_write() -> None:
    model = assemble(residual_block(8, 8, 8))
    assert assemble(residual_block(8, 8, 8)) == model
    proto = onnx.load_from_string(model)
    assert (proto.opset_import[0].version, proto.ir_version) == (OPSET, IR_VERSION)
