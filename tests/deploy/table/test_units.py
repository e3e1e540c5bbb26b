"""Which units are timed for the blocks of a network, and what their times say."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.units import Family, variants

GRID = (8, 16, 32)
Net = Callable[[int], Network]


@pytest.fixture
def family(residual_net: Net) -> Family:
    """The first residual block, with its branch."""
    return variants(residual_net(1), GRID)[1][0]


def test_only_blocks_with_a_branch_come_without_it(residual_net: Net) -> None:
    found = variants(residual_net(1), GRID)
    assert [len(variant) for variant in found] == [1, 2, 2, 2, 1]  # stem, blocks, head
    assert [family.leads for variant in found for family in variant] == [True] + [False] * 7


def test_equal_blocks_are_one_family_and_share_their_units(residual_net: Net) -> None:
    found = variants(residual_net(3), GRID)
    second, third = found[2][0], found[3][0]
    assert second.groups != third.groups
    assert second.identity == third.identity
    assert second.units().keys() == third.units().keys()
    assert second.identity != found[2][1].identity  # without its branch


def test_points_are_widths_of_the_levels_and_no_point_comes_twice(family: Family) -> None:
    rows = {tuple(row) for row in family.points.tolist()}
    assert len(rows) == len(family.points)
    assert tuple(levels[-1] for levels in family.levels) in rows  # the dense one
    for column, levels in zip(family.points.T, family.levels, strict=True):
        assert set(column.tolist()) <= set(levels)


def test_the_context_is_taken_off_the_times(family: Family) -> None:
    """A unit that costs 7 more than its context, whatever the widths, is a constant 7."""
    times = {}
    for key, block in family.units().items():
        alone = len(block.ops) == 2  # the convolution and the ReLU before a block
        times[key] = (1.0, 2.0) if alone else (8.0, 9.5)
    hot, extra, weights = family.pieces(times)
    full = np.array([[levels[-1] for levels in family.levels]])
    assert hot.at(full) == pytest.approx([7.0], rel=0.01)  # type: ignore[attr-defined]
    assert extra.at(full) == pytest.approx([0.5], rel=0.1)  # type: ignore[attr-defined]
    assert weights.constant == 0


def test_the_first_block_reads_the_input_and_has_no_context(family: Family) -> None:
    leading = replace(family, leads=True)
    assert len(leading.units()) == len(leading.points)
    assert len(family.units()) > len(family.points)


def test_a_block_of_more_widths_than_integers_count_is_drawn_from(family: Family) -> None:
    """Long skips of a segmentation network leave one block of dozens of groups."""
    many = replace(family, levels=(tuple(range(1, 41)),) * 16, dropped=())
    drawn = many._candidates()  # 40 to the 16 is above 2 to the 63
    assert drawn.shape == (3002, 16)
    assert (drawn.min(), drawn.max()) == (1, 40)
    assert (drawn[0] == 1).all() and (drawn[-1] == 40).all()
    assert np.array_equal(drawn, many._candidates())
