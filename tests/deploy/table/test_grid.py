"""The channel grid: found on simulated devices, and what it allows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgeprune.deploy.table.bench import Probe
from edgeprune.deploy.table.grid import levels, rewarded
from edgeprune.deploy.table.probe import probe
from edgeprune.target import Channels, TargetProfile

Make = Callable[..., Any]
EIGHTS = (8, 16, 24, 32, 40, 48, 56, 64)
PROFILE = TargetProfile(schema=1, name="sim")
PINNED = PROFILE.model_copy(update={"channels": Channels(grid=(8, 16, 32))})  # probes faster


@pytest.mark.parametrize(("step", "grid"), [(8, EIGHTS), (16, (16, 32, 48, 64)), (32, (32, 64))])
def test_the_steps_of_the_device_are_found(
    step: int, grid: tuple[int, ...], simulated: Make, residual_net: Make
) -> None:
    report = probe(residual_net(1), PROFILE, Probe(device=simulated(step)))
    assert report.grid == report.model.grid == grid
    assert set(report.costs) == {"inner", "stream"}
    assert all(costs[-1] == 1 and len(costs) == 64 for costs in report.costs.values())


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([1, 1, 1, 1, 2, 2, 2, 2], (4, 8)),
        ([1, 1.01, 0.99, 1, 2, 1.98, 2.01, 2], (4, 8)),  # noise inside a step
        ([1, 3, 2, 2, 2, 4, 4, 3], (1, 5, 8)),  # ragged widths cost more than larger ones
        ([7.9, 7.92, 7.94, 7.96, 7.97, 7.98, 7.99, 8], (8,)),  # nothing to gain
        ([1, 2, 3, 4, 5, 6, 7, 8], (1, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_the_largest_width_of_each_step(costs: list[float], expected: tuple[int, ...]) -> None:
    assert rewarded({"inner": costs, "stream": costs}) == expected


def test_legal_widths(residual_net: Make) -> None:
    network = replace(residual_net(1), full=(16, 20, 100, 16, 20, 100), owned=(1, 1, 1, 2, 4, 1))
    assert levels(network, 0, (8, 16, 32)) == (8, 16)
    assert levels(network, 1, (8, 16, 32)) == (8, 16, 20)
    assert levels(network, 2, (8, 16, 32)) == (8, 16, 32, 48, 64, 80, 96, 100)
    assert levels(network, 3, (8, 16, 32)) == (4, 8, 16)
    assert levels(network, 4, (6, 16, 32)) == (4, 8, 12, 16, 20)
    assert levels(network, 0, (64,)) == (16,)
