"""Blocks with open widths, and what is left of them at fixed ones."""

from dataclasses import replace

import numpy as np
import onnxruntime

from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.grid import residual_block
from edgeprune.deploy.table.network import Block, Network, Op, Width

CONV = (("kernel_shape", (3, 3)), ("pads", (1, 1, 1, 1)), ("strides", (1, 1)))
HALF = (("kernel_shape", (1, 1)), ("pads", (0, 0, 0, 0)), ("strides", (2, 2)))


def width(group: int) -> Width:
    return Width(0, ((group, 1),))


def downsampling(stream: int = 0, inner: int = 1, out: int = 2) -> Block:
    ops = (
        Op(
            kind="Conv",
            inputs=("in",),
            output="a",
            width=width(inner),
            attributes=(*CONV[:2], ("strides", (2, 2))),
        ),
        Op(kind="Relu", inputs=("a",), output="b", width=width(inner)),
        Op(kind="Conv", inputs=("b",), output="c", width=width(out), attributes=CONV),
        Op(kind="Conv", inputs=("in",), output="s", width=width(out), attributes=HALF),
        Op(kind="Add", inputs=("c", "s"), output="d", width=width(out)),
        Op(kind="Relu", inputs=("d",), output="out", width=width(out)),
    )
    return Block(name="down", ops=ops, input="in", input_width=width(stream), spatial=(8, 8))


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
    assert downsampling().at((8, 0, 16)).ops[0].width == Width(16)


def test_a_relu_after_a_relu_goes_with_the_branch() -> None:
    block = residual_block(16, 8, 8)
    gone = replace(block, ops=tuple(_inner(op, Width(0)) for op in block.ops))
    assert [op.kind for op in gone.at(()).ops] == ["Relu"]
    assert replace(gone, rectified=True).at(()).ops == ()
    assert replace(gone, rectified=True).signature != gone.signature
    assert len(replace(block, rectified=True).at(()).ops) == 5


def test_a_dropped_branch_on_an_identity_shortcut_leaves_the_input() -> None:
    block = residual_block(16, 8, 8)
    without = replace(block, ops=block.ops[:-1])  # no ReLU after the sum
    gone = replace(without, ops=tuple(_inner(op, Width(0)) for op in without.ops)).at(())
    assert gone.ops == ()
    assert gone.output == gone.input


def _inner(op: Op, inner: Width) -> Op:
    return replace(op, width=inner) if op.output in ("a", "b") else op


def test_what_nobody_reads_any_more_is_gone() -> None:
    """In a bottleneck with its second width 0 the first convolution has no reader."""
    ops = (
        Op(kind="Conv", inputs=("in",), output="a", width=width(1), attributes=CONV),
        Op(kind="Conv", inputs=("a",), output="b", width=width(2), attributes=CONV),
        Op(kind="Conv", inputs=("b",), output="c", width=width(0), attributes=CONV),
        Op(kind="Add", inputs=("c", "in"), output="out", width=width(0)),
    )
    block = Block(name="neck", ops=ops, input="in", input_width=width(0), spatial=(8, 8))
    assert block.at((16, 8, 0)).ops == ()


def test_a_concatenation_keeps_what_is_left() -> None:
    ops = (
        Op(kind="Conv", inputs=("in",), output="a", width=width(1), attributes=CONV),
        Op(
            kind="Concat",
            inputs=("in", "a"),
            output="cat",
            width=Width(0, ((0, 1), (1, 1))),
            attributes=(("axis", 1),),
        ),
        Op(kind="Conv", inputs=("cat",), output="out", width=Width(4), attributes=CONV),
    )
    block = Block(name="dense", ops=ops, input="in", input_width=width(0), spatial=(4, 4))
    assert [op.kind for op in block.at((8, 0)).ops] == ["Conv"]
    assert run(assemble(block.at((8, 8)))).shape == (1, 4, 4, 4)


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
    second = replace(downsampling(2, 3, 4), input="out")
    renamed = tuple(
        replace(op, inputs=tuple(_late(n) for n in op.inputs), output=_late(op.output))
        for op in second.ops
    )
    second = replace(second, ops=renamed, spatial=(4, 4))
    net = Network(
        blocks=(downsampling(), second),
        full=(8, 8, 16, 16, 24),
        branches=((1,), (3,)),
        input_shape=(1, 8, 8, 8),
    )
    assert net.droppable == {1, 3}
    assert run(assemble(net.at(net.full))).shape == (1, 24, 2, 2)
    assert [op.kind for op in net.at((8, 0, 16, 0, 24)).ops] == ["Conv", "Relu"] * 2


def _late(name: str) -> str:
    return "out" if name == "in" else f"late.{name}"
