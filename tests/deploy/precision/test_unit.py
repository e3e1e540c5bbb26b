"""Units of the latency table in int8: small files that run on integers alone."""

import onnx
import pytest

from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.precision.proof import kernels_on
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.unit import in_int8
from edgeprune.deploy.table.assemble import assemble, in_context
from edgeprune.deploy.table.grid import residual_block
from edgeprune.deploy.table.network import Block
from edgeprune.target import Runtime


@pytest.mark.parametrize("widths", [(64, 64), (5, 9)])
def test_a_residual_block_runs_on_integers(widths: tuple[int, int]) -> None:
    unit = in_int8(assemble(in_context(residual_block(*widths, 8))), Scheme())
    assert len(unit) < 12_000  # the weights of 64 channels are 74 kB
    proto = onnx.ModelProto.FromString(unit)
    found = kernels_on(Local(), proto, Runtime())
    assert (found.integer, found.floats) == (3, ())
    assert in_int8(assemble(in_context(residual_block(*widths, 8))), Scheme()) == unit


def test_a_context_alone_is_a_unit_too() -> None:
    block = residual_block(16, 16, 8)
    alone = Block(name="alone", ops=(), input="in", shape=block.shape, output="in")
    proto = onnx.ModelProto.FromString(in_int8(assemble(in_context(alone)), Scheme()))
    assert kernels_on(Local(), proto, Runtime()).integer == 1
