"""Blocks at fixed widths as ONNX files: they run, they are small, they repeat."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.deploy.devices.job import IR_VERSION, OPSET
from edgeprune.deploy.table.assemble import assemble, in_context, with_weights
from edgeprune.deploy.table.graph import Constant, Shape, Value, Width, sizes_of
from edgeprune.deploy.table.grid import residual_block
from edgeprune.deploy.table.network import Block
from tests.open_ops import linear, op, shape

EIGHT = Width(8)


def run(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return session.run(None, {"x": np.ones(shape, np.float32)})[0]


def one(kind: str, made: Shape, *constants: Constant, **attributes: Value) -> Block:
    """A block of one operator on 8 channels of 4x4 pixels."""
    alone = op(kind, "in", "out", made, **attributes)
    alone = replace(alone, inputs=("in", *constants))
    return Block(name="one", ops=(alone,), input="in", shape=shape(EIGHT, 4), output="out")


@pytest.mark.parametrize("widths", [(8, 16, 24), (3, 5, 7), (8, 0, 16)])
def test_a_block_is_a_file_that_runs(downsampling: Block, widths: tuple[int, int, int]) -> None:
    block = downsampling.at(widths)
    model = assemble(block)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert run(model).shape == (1, widths[2], 4, 4)
    assert run(assemble(in_context(block))).shape == (1, widths[2], 4, 4)
    assert np.isfinite(run(model)).all()


def test_the_batch_is_that_of_the_shapes() -> None:
    made = shape(EIGHT, 4, batch=2)
    ops = (op("Relu", "in", "out", made),)
    block = Block(name="two", ops=ops, input="in", shape=made, output="out")
    assert run(assemble(in_context(block))).shape == (2, 8, 4, 4)


def weight(*sizes: int) -> Constant:
    return Constant(shape=tuple(map(Width, sizes)))


CONV = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
LIMIT = Constant(shape=(), content=np.float32(6).tobytes())
SIZES = Constant(shape=(Width(2),), dtype="int64", sizes=(Width(1), Width(128)))
MADE = shape(EIGHT, 4)


@pytest.mark.parametrize(
    "block",
    [
        one("Clip", MADE, LIMIT, LIMIT),
        one("BatchNormalization", MADE, *[weight(8)] * 4),
        one("Conv", MADE, weight(8, 1, 3, 3), group=EIGHT, **CONV),  # depthwise
        one("Conv", shape(Width(6), 4), weight(6, 4, 3, 3), group=Width(2), **CONV),
        one("Flatten", shape(Width(128)), axis=1),
        one("Reshape", shape(Width(128)), SIZES),
        one("GlobalAveragePool", shape(EIGHT, 1)),
        one("MatMul", (*MADE[:3], Width(5)), weight(4, 5)),
        one("HardSwish", MADE),
        one("LayerNormalization", MADE, weight(4), weight(4)),
    ],
    ids=lambda block: block.ops[0].kind,
)
def test_every_operator_runs(block: Block) -> None:
    expected = sizes_of(block.ops[0].shape)
    assert run(assemble(block)).shape == expected
    assert run(assemble(in_context(block))).shape == expected


def test_a_flat_tensor_has_a_context_too() -> None:
    head = linear(("in", EIGHT), ("out", Width(10)))
    block = Block(name="head", ops=(head,), input="in", shape=shape(EIGHT), output="out")
    assert run(assemble(in_context(block))).shape == (1, 10)


def test_the_weights_of_a_network_go_in_by_name() -> None:
    head = linear(("in", EIGHT), ("out", Width(2)))
    named = [replace(one, name=name) for one, name in zip(head.constants, "wb", strict=True)]
    head = replace(head, inputs=("in", *named))
    block = Block(name="head", ops=(head,), input="in", shape=shape(EIGHT), output="out")
    weights = {"w": np.arange(16, dtype=np.float32).reshape(2, 8), "b": np.ones(2, np.float32)}
    model = with_weights(block, weights)
    assert [node.name for node in model.graph.node] == ["node_out"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"in": np.ones((1, 8), np.float32)})
    assert found.tolist() == [[29.0, 93.0]]


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
