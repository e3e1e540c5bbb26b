"""Budgets in units of the device: what gates here, and what is only an estimate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.artifact.counting.count import Count
from edgeprune.deploy.artifact.facts import Facts, read
from edgeprune.deploy.gate.absolute import (
    Here,
    counts,
    estimate,
    footprints,
    of_count,
    percentiles,
)
from edgeprune.deploy.timing.samples import LatencyReport
from edgeprune.deploy.timing.setting import Setting
from edgeprune.target import AbsoluteBudget

ELSEWHERE = Here("a-laptop", is_device=False)


@pytest.fixture
def facts(tmp_path: Path, net: Callable[..., bytes]) -> Facts:
    """Facts of a small network that records its MACs."""
    path = tmp_path / "m.onnx"
    path.write_bytes(net(8, macs="30", file_bytes="1"))
    return read(path)


def test_recorded_counts_go_first_and_the_size_is_that_of_the_file(facts: Facts) -> None:
    limits = AbsoluteBudget(macs=29, params=10_000, file_bytes=5)
    found = {verdict.name: verdict for verdict in counts(facts, limits)}
    assert list(found) == ["macs", "params", "file_bytes"]
    assert (found["macs"].value, found["macs"].outcome) == (30, "missed")
    assert (found["params"].value, found["params"].outcome) == (facts.params.total, "met")
    assert found["file_bytes"].value == len(facts.file.content)
    assert counts(facts, AbsoluteBudget()) == []


@pytest.mark.parametrize(
    ("limit", "outcome", "value"), [(1000, "inconclusive", None), (999, "missed", 1000)]
)
def test_a_count_that_is_not_complete_is_never_met(
    limit: int, outcome: str, value: int | None
) -> None:
    found = of_count("macs", limit, Count(1000, {"com.acme.Foo": 1, "Scan": 2}))
    assert (found.outcome, found.value) == (outcome, value)
    assert "not counted: 2 Scan, 1 com.acme.Foo; the rest is 1,000" in found.message


def test_shapes_read_off_a_run_are_said() -> None:
    found = of_count("macs", 1000, Count(7, observed=2))
    assert found.outcome == "met"
    assert "2 shapes as a run on random input has them" in found.message


def test_without_a_limit_nothing_is_measured(record: Callable[..., Any], facts: Facts) -> None:
    device = record()
    setting = Setting(device=device)
    assert percentiles(facts, AbsoluteBudget(), setting, ELSEWHERE, None) == ([], None)
    assert footprints(facts, AbsoluteBudget(), setting, ELSEWHERE) == []
    assert device.jobs == []


def test_elsewhere_what_a_comparison_measured_is_the_estimate(
    record: Callable[..., Any], facts: Facts
) -> None:
    device = record()
    known = LatencyReport(((2_000_000,) * 10,), "cpu", {})
    limits = AbsoluteBudget(p50_ms=9.0, p90_ms=0.1)
    found, report = percentiles(facts, limits, Setting(device=device), ELSEWHERE, known)
    assert [(v.name, v.value, v.outcome) for v in found] == [
        ("p50_ms", 2.0, "estimate"),
        ("p90_ms", 2.0, "estimate"),
    ]
    assert report is known
    assert device.jobs == []


@pytest.mark.parametrize("value", [1.0, 99.0])
def test_an_estimate_is_neither_met_nor_missed(value: float) -> None:
    found = estimate("load_ms", 5.0, value, " ms", ELSEWHERE)
    assert (found.outcome, found.rule, found.raw) == ("estimate", "estimate", {"value": value})
    assert "measured on a-laptop" in found.evidence
