"""The rules behind a verdict, the words it prints, and what all of them mean for the exit code."""

from typing import Any

import pytest

from edgeprune.deploy.gate.verdicts import (
    Report,
    Verdict,
    by_percentile,
    by_ratio,
    by_spread,
    of_value,
    slowdown,
)


@pytest.mark.parametrize(("value", "outcome"), [(9.9, "met"), (10.0, "met"), (10.1, "missed")])
def test_a_value_may_be_as_large_as_its_limit(value: float, outcome: str) -> None:
    assert of_value("macs", 10.0, value, "", "counted").outcome == outcome


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (["met"], "met"),
        (["inconclusive"], "inconclusive"),
        (["missed"], "inconclusive"),  # no second process has said so
        (["missed", "missed"], "missed"),
        (["missed", "met"], "inconclusive"),
        (["missed", "inconclusive"], "inconclusive"),
    ],
)
def test_a_miss_needs_two_processes(statuses: list[Any], outcome: str) -> None:
    assert by_ratio(statuses) == outcome


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([3.0, 1.0, 2.0], "met"),
        ([9.0, 1.0, 2.0], "inconclusive"),
        ([5.0, 5.0, 5.0], "met"),
        ([9.0, 7.0, 8.0], "missed"),
    ],
)
def test_a_spread_is_settled_when_all_of_it_is_on_one_side(
    values: list[float], outcome: str
) -> None:
    assert by_spread(values, limit=5.0) == outcome


@pytest.mark.parametrize(
    ("slow", "processes", "outcome"),
    [
        (0, 2, "inconclusive"),  # the first look is after three
        (0, 3, "met"),
        (100, 3, "missed"),
        (50, 12, "inconclusive"),
    ],
)
def test_a_percentile_counts_the_runs_over_the_limit(
    slow: int, processes: int, outcome: str
) -> None:
    runs = [[[9.0] * slow + [1.0] * (100 - slow)] * 4] * processes
    assert by_percentile(runs, 50, limit=5.0) == outcome


def test_a_device_that_grows_slower_must_keep_a_limit_with_as_much_to_spare() -> None:
    runs = [[[1.0] * 8] * 5, [[1.1] * 8] * 5, [[1.2] * 8] * 5]
    assert slowdown(runs) == pytest.approx(1.2)
    assert by_percentile(runs, 50, limit=1.25) == "inconclusive"  # 1.25 / 1.2 < 1.1
    assert by_percentile(runs, 50, limit=1.5) == "met"


def verdict(outcome: Any = "met", **changes: Any) -> Verdict:
    values = {"name": "latency", "limit": 0.7, "value": 0.63, "unit": "x", "evidence": "timed"}
    return Verdict(**{**values, "outcome": outcome, "rule": "ratio", "raw": {}, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"interval": (0.62, 0.64)},
            "met: latency 0.630x [0.620, 0.640], limit 0.700x (-10.0%); timed",
        ),
        (
            {"name": "macs", "limit": 2e6, "value": 3e6, "unit": "", "outcome": "missed"},
            "missed: macs 3,000,000, limit 2,000,000 (+50.0%); timed",
        ),
        (
            {"name": "p90_ms", "unit": " ms", "outcome": "estimate"},
            "estimate: p90_ms 0.630 ms, limit 0.700 ms; timed",
        ),
        (
            {"name": "accuracy_drop", "unit": " points", "value": None, "outcome": "inconclusive"},
            "inconclusive: accuracy_drop unknown, limit 0.700 points; timed",
        ),
        (
            {"name": "seal", "limit": 0, "value": 0, "unit": "", "rule": "value"},
            "met: seal; timed",
        ),
    ],
)
def test_a_message_says_outcome_value_limit_and_distance(
    changes: dict[str, Any], message: str
) -> None:
    assert verdict(**changes).message == message


def test_a_message_stays_under_400_characters() -> None:
    message = verdict(evidence="x" * 1000).message
    assert len(message) == 400
    assert message.endswith("x ... (all of it in the JSON report)")


@pytest.mark.parametrize(
    ("outcomes", "policy", "outcome", "code"),
    [
        (["met", "met"], "fail", "met", 0),
        (["met", "estimate"], "warn", "inconclusive", 0),
        (["met", "estimate"], "fail", "inconclusive", 4),
        (["inconclusive"], "pass", "inconclusive", 0),
        (["inconclusive", "missed"], "fail", "missed", 1),
        (["missed", "met"], "pass", "missed", 1),
    ],
)
def test_the_worst_verdict_is_that_of_the_report(
    outcomes: list[Any], policy: Any, outcome: str, code: int
) -> None:
    report = Report(
        model={"file": "m.onnx", "sha256": "0", "bytes": 1},
        reference=None,
        target={"name": "t", "sha256": "0", "proxy_for": None},
        verdicts=tuple(verdict(each) for each in outcomes),
        on_inconclusive=policy,
        notes=(),
        machine={},
        health=None,
        latency={},
        date="",
        seconds=0.0,
        versions={},
    )
    assert (report.outcome, report.exit_code) == (outcome, code)


@pytest.mark.parametrize(("value", "unit"), [(0.0, " points"), (0.5, " points"), (0.0, "")])
def test_a_share_that_says_nothing_is_left_out(value, unit):
    verdict = Verdict(
        name="accuracy_drop", outcome="met", limit=1.0, value=value, unit=unit, evidence="e",
        rule="paired", raw={},
    )  # fmt: skip
    assert "%" not in verdict.message
