"""Classes that occur equally often everywhere are one group."""

import numpy as np
import pytest
from torch import fx, nn

from edgeprune.prune.tracing.coupling import Coupling, Flow
from edgeprune.prune.tracing.grouping import classify
from edgeprune.prune.tracing.module_rules import whole_groups


def _nodes(count: int) -> list[fx.Node]:
    graph = fx.Graph()
    return [graph.placeholder(f"x{i}") for i in range(count)]


def test_classes_that_one_tensor_holds_twice_are_a_group_of_their_own() -> None:
    coupling = Coupling()
    ids = coupling.fresh(4)
    first, second = _nodes(2)
    flows = {
        first: Flow((1, 4), 1, ids),
        second: Flow((1, 6), 1, np.concatenate([ids, ids[:2]])),
    }
    found = classify(coupling, flows, [ids])
    assert found.group[ids].tolist() == [0, 0, 1, 1]
    assert found.member[ids].tolist() == [0, 1, 0, 1]
    assert found.carriers == ((first, second), (first, second))


def test_channels_that_no_parameter_holds_are_kept() -> None:
    coupling = Coupling()
    ids = coupling.fresh(3)
    [node] = _nodes(1)
    found = classify(coupling, {node: Flow((1, 3), 1, ids)}, [ids[:2]])
    assert found.group[coupling.roots(ids)].tolist() == [0, 0, -1]


@pytest.mark.parametrize(
    ("channels", "out", "groups", "whole"),
    [(8, 8, 8, True), (8, 16, 8, True), (16, 16, 8, True), (16, 16, 2, False), (8, 32, 4, False)],
)
def test_many_small_groups_go_whole_few_large_ones_by_position(
    channels: int, out: int, groups: int, whole: bool
) -> None:
    assert whole_groups(nn.Conv2d(channels, out, 1, groups=groups)) == whole
