"""Paired epochs of known ratios."""

from collections.abc import Callable

import pytest

from edgeprune.deploy.timing.samples import PairedEpoch

QUIET = {"cpu_ns": 99.0, "wall_ns": 100.0, "ticks": 10.0, "steal_ticks": 0.0, "throttled_us": 0.0}


def epochs(ratios: list[float], rounds: int = 8, **counters: float) -> list[PairedEpoch]:
    reference = ((1_000_000, 1_000_100),) * rounds
    machine = {**QUIET, "load": 0.5, **counters}
    return [
        PairedEpoch(((round(1_000_000 * ratio), 9_999_999),) * rounds, reference, machine)
        for ratio in ratios
    ]


@pytest.fixture
def paired() -> Callable[..., list[PairedEpoch]]:
    """Make one epoch for each ratio."""
    return epochs
