import numpy as np
import pytest

from edgeprune.errors import InputError
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import TensorSlice, trace
from tests.models import group_of


def group(name="g", width=64, block=None, share=1):
    positions = np.arange(width * share).reshape(width, share)
    return group_of(name, width, block=block, slices=(TensorSlice("w", 0, positions),))


@pytest.mark.parametrize(
    ("width", "grid", "expected"),
    [
        (16, [8, 16, 24, 32], (8, 16)),
        (64, [8, 16, 24, 32], (8, 16, 24, 32, 40, 48, 56, 64)),
        (64, [8, 32], (8, 32, 56, 64)),
        (20, [16], (16, 20)),
        (50, [16], (16, 32, 48, 50)),
        (4, [8, 16], (4,)),
        (1, [1], (1,)),
        (5, [3, 3, 1], (1, 3, 5)),
    ],
)
def test_grids_continue_in_their_last_step_and_end_with_the_full_width(width, grid, expected):
    assert build([group(width=width)], grid).grids == (expected,)
    assert build([group(width=width, block="b")], grid).grids == ((0, *expected),)


def test_a_channel_of_several_positions_meets_the_grid_with_all_of_them():
    # 32 channels of 4 positions each: 8, 16, 24 ... positions are 2, 4, 6 ... channels.
    (grid,) = build([group(width=32, share=4)], [8, 16]).grids
    assert grid == tuple(range(2, 33, 2))


@pytest.mark.parametrize("grid", [[], [0, 8], [-8]])
def test_a_grid_without_sense_is_refused(grid):
    with pytest.raises(InputError, match="width grid"):
        build([group()], grid)


def test_zero_in_one_group_of_a_branch_drops_the_branch():
    groups = [group("s"), group("a", block="x"), group("b", block="x"), group("c", block="y")]
    space = build(groups, [8])
    widths = np.array([[64, 8, 0, 8], [64, 0, 8, 0], [64, 8, 8, 8]])
    assert space.settle(widths).tolist() == [[64, 0, 0, 8], [64, 0, 0, 0], [64, 8, 8, 8]]
    assert space.full.tolist() == [64] * 4


def test_snapping_rounds_up_to_the_grid():
    space = build([group("s"), group("a", block="x")], [8, 32])
    snapped = space.snap(np.array([[1, 1], [9, 0], [33, 57], [64, 64]]))
    assert snapped.tolist() == [[8, 8], [32, 0], [56, 64], [64, 64]]


def test_snapped_widths_are_legal_and_settled(tiny):
    space = build(trace(*tiny("bottleneck")).groups, [4, 8])
    drawn = space.snap(np.random.default_rng(0).integers(0, space.full + 1, (400, 5)))
    for column, grid in zip(drawn.T, space.grids, strict=True):
        assert set(column.tolist()) == set(grid)
    assert np.array_equal(drawn, space.settle(drawn))
