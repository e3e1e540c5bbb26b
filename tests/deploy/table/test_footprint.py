"""Bytes of weights as a form in the widths: by hand, and against the file itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.footprint import weights_of
from edgeprune.deploy.table.graph import Constant, Width
from edgeprune.deploy.table.network import Block
from tests.open_ops import op, shape, width


def test_a_residual_block_by_hand(downsampling: Block) -> None:
    form = weights_of(downsampling, (0, 1, 2))
    # inner x stream x 9 + out x inner x 9 + out x stream, 4 bytes each
    assert form.parts[0, 1] == form.parts[1, 2] == 36
    assert form.parts[0, 2] == 4
    assert form.constant == 0


def test_groups_of_a_dropped_branch_are_0_wide(downsampling: Block) -> None:
    dropped = weights_of(downsampling, (0, 2))
    assert dropped.parts[0, 1] == 4  # places now count (stream, out)


def test_a_depthwise_convolution_is_linear_in_its_width() -> None:
    channels = width(0)
    weight = Constant(shape=(channels, Width(1), Width(3), Width(3)))
    depthwise = replace(
        op("Conv", "in", "o", shape(channels, 8), group=channels), inputs=("in", weight)
    )
    made = shape(channels, 8)
    block = Block(name="dw", ops=(depthwise,), input="in", shape=made, output="o")
    assert weights_of(block, (0,)).parts[0,] == 36


@pytest.mark.parametrize("widths", [(16, 8, 32), (3, 5, 7)])
def test_the_parts_add_up_to_the_file(
    downsampling: Block, weight_bytes: Callable[[bytes], float], widths: tuple[int, ...]
) -> None:
    form = weights_of(downsampling, (0, 1, 2))
    total = form.constant
    for place, own in enumerate(widths):
        total += form.curve(place, np.array([own]))[0]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        total += form.joint((a, b), np.array([widths[a]]), np.array([widths[b]]))[0, 0]
    assert total == weight_bytes(assemble(downsampling.at(widths)))
