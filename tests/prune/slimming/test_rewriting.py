"""Sizes and indices written in a graph, after pruning."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.prune.slimming.rewriting import Kept, _place_of, _remaining
from edgeprune.prune.tracing.trace import trace

STAY = np.array([True, False, True, True, False, True])  # dense 0 2 3 5 become 0 1 2 3


@pytest.mark.parametrize(
    ("part", "remaining"),
    [
        (slice(None), slice(None)),
        (slice(0, 3), slice(0, 2)),
        (slice(2, 6), slice(1, 4)),
        (slice(0, 6, 2), [0, 1]),
        (slice(5, 6), slice(3, 4)),
        (3, 2),
        (-1, 3),
    ],
)
def test_an_index_picks_what_it_picked_of_the_channels_that_stay(
    part: object, remaining: object
) -> None:
    found = _remaining(part, STAY)
    before = np.arange(6)[part]  # type: ignore[call-overload]
    after = np.flatnonzero(STAY)[found]
    assert np.array_equal(np.intersect1d(before, np.flatnonzero(STAY)), np.atleast_1d(after))
    if not isinstance(remaining, list):
        assert found == remaining


@pytest.mark.parametrize(
    ("index", "place"),
    [
        ([slice(None), slice(1, 3)], 1),
        ([..., slice(1, 3)], None),
        ([..., slice(1, 3), 0, 0], 1),
        ([None, slice(None), 2], 2),
        ([0], None),
    ],
)
def test_the_place_of_an_axis_in_an_index(index: list[object], place: int | None) -> None:
    assert _place_of(index, axis=1, rank=4) == place


def test_positions_that_stay_follow_the_groups() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.two(torch.cat([x, x], 1))

    traced = trace(Doubled().eval(), torch.zeros(1, 3, 4, 4))
    kept = Kept(traced, [np.array([1, 2])])
    [joined] = [node for node in traced.graph.graph.nodes if "cat" in node.name]
    axis, stay = kept.of(joined)
    assert axis == 1
    assert stay.astype(int).tolist() == [0, 1, 1, 0] * 2
    assert kept.count(traced.layouts[joined]) == 4
