"""Budgets against the dense model that need no clock."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.deploy.artifact.facts import Facts, read
from edgeprune.deploy.gate.kernel_layout import Layout
from edgeprune.deploy.gate.relative import check_limit, counts, kernels, outputs
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


def test_a_recorded_count_is_never_compared_with_a_counted_one(
    facts: Callable[..., Facts],
) -> None:
    both = counts(facts(4, macs="30"), facts(8, macs="40"), "macs", 0.8)
    assert both.value == 0.75
    one = counts(facts(4, macs="30"), facts(8), "macs", 0.8)
    assert one.value == facts(4).macs.total / facts(8).macs.total


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
    slim = Layout(blocked=("a",), plain=plain, reorders=())
    seen = SimpleNamespace(layouts=[slim, dense], where="graph of x", unseen="")
    found = kernels(seen)  # type: ignore[arg-type]
    assert found.outcome == outcome
    assert ("left the blocked layout: conv1" in found.evidence) == (outcome == "missed")


@pytest.mark.parametrize(
    ("finite", "said"),
    [
        ([True], None),
        ([True, True], None),
        ([False], "the model gives"),
        ([True, False], "the baseline gives"),
        ([False, False], "the model and the baseline gives"),
    ],
)
def test_outputs_that_are_no_numbers_fail(finite: list[bool], said: str | None) -> None:
    found = outputs(finite)
    assert [verdict.outcome for verdict in found] == ([] if said is None else ["missed"])
    assert said is None or found[0].evidence.startswith(said)
