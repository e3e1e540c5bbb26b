"""Blocks with open widths, and what is left of them at fixed ones."""

from dataclasses import replace

import numpy as np
import onnxruntime

from edgeprune.deploy.table.assemble import assemble, convolution
from edgeprune.deploy.table.graph import Constant, Op, Width
from edgeprune.deploy.table.grid import residual_block
from edgeprune.deploy.table.network import Block, Network
from tests.open_ops import op, shape, width


def downsampling(stream: int = 0, inner: int = 1, out: int = 2) -> Block:
    reads, narrow, wide = width(stream), width(inner), width(out)
    ops = (
        convolution(("in", reads), ("a", narrow), (4, 4), stride=2),
        op("Relu", "a", "b", shape(narrow, 4)),
        convolution(("b", narrow), ("c", wide), (4, 4)),
        convolution(("in", reads), ("s", wide), (4, 4), kernel=1, stride=2),
        op("Add", "c s", "d", shape(wide, 4)),
        op("Relu", "d", "out", shape(wide, 4)),
    )
    return Block(name="down", ops=ops, input="in", shape=shape(reads, 8), output="out")


def run(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return session.run(None, {"x": np.ones(shape, np.float32)})[0]


def test_a_width_is_a_fixed_part_and_multiples_of_groups() -> None:
    assert Width(3, ((0, 2), (4, 1))).at({0: 10, 4: 5}) == 28
    assert Width(10).at(()) == 10


def test_dropping_the_branch_leaves_the_shortcut_and_the_relu_after_it() -> None:
    kinds = [op.kind for op in downsampling().at((8, 0, 16)).ops]
    assert kinds == ["Conv", "Relu"]
    assert downsampling().at((8, 0, 16)).ops[0].shape[1] == Width(16)


def test_a_relu_after_a_relu_goes_with_the_branch() -> None:
    block = residual_block(16, 8, 8)
    gone = without_branch(block)
    assert [op.kind for op in gone.at(()).ops] == ["Relu"]
    assert replace(gone, rectified=True).at(()).ops == ()
    assert replace(gone, rectified=True).signature != gone.signature
    assert len(replace(block, rectified=True).at(()).ops) == 5


def test_a_dropped_branch_on_an_identity_shortcut_leaves_the_input() -> None:
    block = residual_block(16, 8, 8)
    without = replace(block, ops=block.ops[:-1], output="d")  # no ReLU after the sum
    gone = without_branch(without).at(())
    assert gone.ops == ()
    assert gone.output == gone.input


def without_branch(block: Block) -> Block:
    """The block with the tensors between its convolutions at width 0."""
    ops = [
        replace(op, shapes=(shape(Width(0), 8),)) if op.output in ("a", "b") else op
        for op in block.ops
    ]
    return replace(block, ops=tuple(ops))


def test_what_nobody_reads_any_more_is_gone() -> None:
    """In a bottleneck with its second width 0 the first convolution has no reader."""
    stream, first, second = map(width, range(3))
    ops = (
        convolution(("in", stream), ("a", first), (8, 8)),
        convolution(("a", first), ("b", second), (8, 8)),
        convolution(("b", second), ("c", stream), (8, 8)),
        op("Add", "c in", "out", shape(stream, 8)),
    )
    block = Block(name="neck", ops=ops, input="in", shape=shape(stream, 8), output="out")
    assert block.at((16, 8, 0)).ops == ()


def test_a_concatenation_keeps_what_is_left() -> None:
    stream, more, both = width(0), width(1), Width(0, ((0, 1), (1, 1)))
    ops = (
        convolution(("in", stream), ("a", more), (4, 4)),
        op("Concat", "in a", "cat", shape(both, 4), axis=1),
        convolution(("cat", both), ("out", Width(4)), (4, 4)),
    )
    block = Block(name="dense", ops=ops, input="in", shape=shape(stream, 4), output="out")
    assert [op.kind for op in block.at((8, 0)).ops] == ["Conv"]
    assert run(assemble(block.at((8, 8)))).shape == (1, 4, 4, 4)


def test_a_split_keeps_the_pieces_that_are_left() -> None:
    left, right = width(0), width(1)
    sizes = Constant(shape=(Width(2),), dtype="int64", sizes=(left, right))
    split = Op(
        kind="Split",
        inputs=("in", sizes),
        outputs=("a", "b"),
        shapes=(shape(left, 4), shape(right, 4)),
        attributes=(("axis", 1),),
    )
    ops = (split, op("Sigmoid", "a", "c", shape(left, 4)))
    both = Width(0, ((0, 1), (1, 1)))
    block = Block(name="split", ops=ops, input="in", shape=shape(both, 4), output="c")
    assert run(assemble(block.at((3, 5)))).shape == (1, 3, 4, 4)
    assert run(assemble(block.at((3, 0)))).shape == (1, 3, 4, 4)


def test_equal_keys_are_equal_work() -> None:
    here, there = downsampling(), replace(downsampling(5, 7, 6), name="elsewhere")
    assert here.signature == there.signature
    assert here.groups == (0, 1, 2)
    assert there.groups == (5, 7, 6)
    widths = {0: 8, 1: 16, 2: 24, 5: 8, 7: 16, 6: 24}
    assert here.at(widths).key == there.at(widths).key
    assert here.at(widths).key != here.at(widths | {1: 8}).key
    assert here.signature != downsampling(0, 1, 0).signature


def test_groups_that_an_operator_joins() -> None:
    assert downsampling().joined == {(0, 1), (1, 2), (0, 2)}


def test_a_network_is_its_blocks_in_a_row() -> None:
    names = {"in": "out", "out": "late"}
    second = downsampling(2, 3, 4)
    renamed = tuple(
        replace(
            op,
            inputs=tuple(_late(one, names) for one in op.inputs),
            outputs=(names.get(op.output, f"late.{op.output}"),),
            shapes=tuple((*made[:2], Width(2), Width(2)) for made in op.shapes),
        )
        for op in second.ops
    )
    made = shape(width(2), 4)
    second = replace(second, ops=renamed, input="out", shape=made, output="late")
    net = Network(
        blocks=(downsampling(), second),
        full=(8, 8, 16, 16, 24),
        branches=((1,), (3,)),
        input_shape=(1, 8, 8, 8),
    )
    assert net.droppable == {1, 3}
    assert run(assemble(net.at(net.full))).shape == (1, 24, 2, 2)
    assert [op.kind for op in net.at((8, 0, 16, 0, 24)).ops] == ["Conv", "Relu"] * 2


def _late(one: str | Constant, names: dict[str, str]) -> str | Constant:
    return names.get(one, f"late.{one}") if isinstance(one, str) else one
