"""Channel ids: which are in one class, and what a view does to them."""

import numpy as np
import pytest
import torch

from edgeprune.prune.tracing.coupling import FIXED, Coupling, Flow, settle


def test_joined_channels_share_a_root_and_fixed_ones_have_root_0() -> None:
    coupling = Coupling()
    a, b = coupling.fresh(3), coupling.fresh(3)
    coupling.join(a, b)
    coupling.freeze(b[:1])
    assert coupling.roots(a).tolist() == coupling.roots(b).tolist() == [FIXED, 2, 3]
    assert len(coupling) == 7


def test_a_single_channel_is_never_pruned() -> None:
    assert Coupling().fresh(1).tolist() == [FIXED]


@pytest.mark.parametrize(
    ("shape", "axis", "classes"),
    [
        ((1, 6, 2), 1, [[1], [2], [3], [4], [5], [6]]),
        ((1, 2, 3, 2), 2, [[1, 4], [2, 5], [3, 6]]),  # the longest axis stays prunable
        ((1, 12), 1, [[1], [2], [3], [4], [5], [6]]),
    ],
)
def test_a_view_is_read_back_with_one_channel_axis(
    shape: tuple[int, ...], axis: int, classes: list[list[int]]
) -> None:
    coupling = Coupling()
    spread = Flow((1, 6, 2), 1, coupling.fresh(6)).spread()
    flow = settle(spread.reshape(shape), coupling)
    assert (flow.shape, flow.axis) == (shape, axis)
    found = {int(root): [] for root in coupling.roots(np.arange(1, 7))}
    for channel in range(1, 7):
        found[coupling.root(channel)].append(channel)
    assert list(found.values()) == classes


def test_a_preferred_axis_stays_prunable() -> None:
    coupling = Coupling()
    spread = torch.from_numpy(coupling.fresh(6)).view(2, 3)
    assert settle(spread, coupling, prefer=(0,)).axis == 0
    assert coupling.roots(np.arange(1, 7)).tolist() == [1, 1, 1, 4, 4, 4]
