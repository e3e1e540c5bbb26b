"""Budgets against the dense model that need no clock."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.deploy.artifact.facts import Facts, read
from edgeprune.deploy.gate.kernel_layout import Layout
from edgeprune.deploy.gate.relative import accuracy, check_limit, counts, kernels
from edgeprune.errors import InputError


@pytest.fixture
def facts(tmp_path: Path, net: Callable[..., bytes]) -> Callable[..., Facts]:
    """Facts of a small network that records what is given."""

    def make(width: int = 8, **recorded: str) -> Facts:
        return read(tmp_path / "m.onnx", content=net(width, **recorded))

    return make


@pytest.mark.parametrize("limit", [0.3, 0.99, 1.01, 5.0])
def test_a_limit_that_timing_can_tell_from_1(limit: float) -> None:
    assert check_limit(limit, "--max-ratio") == limit


@pytest.mark.parametrize(
    ("recorded", "outcome", "lost"),
    [
        ({"accuracy_dense": "0.95", "accuracy_slim": "0.94"}, "met", 1.0),  # no float in between
        ({"accuracy_dense": "0.95", "accuracy_slim": "0.9399"}, "missed", 1.01),
        ({"accuracy_dense": "0.90", "accuracy_slim": "0.92"}, "met", -2.0),
        ({"accuracy_dense": "0.95"}, None, None),
        ({"accuracy_dense": "high", "accuracy_slim": "0.9"}, None, None),
    ],
)
def test_points_of_accuracy(
    facts: Callable[..., Facts], recorded: dict[str, str], outcome: str | None, lost: float | None
) -> None:
    found = accuracy(facts(**recorded), 1.0)
    assert (found and found.outcome, found and found.value) == (outcome, lost)


def test_a_recorded_count_is_never_compared_with_a_counted_one(
    facts: Callable[..., Facts],
) -> None:
    both = counts(facts(4, macs="30"), facts(8, macs="40"), "macs", 0.8)
    assert both.value == 0.75
    one = counts(facts(4, macs="30"), facts(8), "macs", 0.8)
    assert one.value == facts(4).macs / facts(8).macs


def test_a_reference_without_macs_cannot_be_compared_with(facts: Callable[..., Facts]) -> None:
    with pytest.raises(InputError, match="has no macs to compare with"):
        counts(facts(macs="1"), facts(macs="0"), "macs", 0.5)


@pytest.mark.parametrize(
    ("plain", "outcome"), [((), "met"), (("conv1",), "missed"), (("stem",), "met")]
)
def test_a_convolution_may_not_leave_the_layout_that_the_reference_keeps(
    plain: tuple[str, ...], outcome: str
) -> None:
    dense = Layout(blocked=("a", "b"), plain=("stem",), reorders=())
    found = kernels(Layout(blocked=("a",), plain=plain, reorders=()), dense)
    assert found.outcome == outcome
    assert ("left the blocked layout: conv1" in found.evidence) == (outcome == "missed")
