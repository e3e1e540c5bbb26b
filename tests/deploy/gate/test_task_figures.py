"""Verdicts on output error and on a score, from records; what was not measured is never met."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.deploy.gate.task_figures import judged_by, output_error, score_drop


def one(low: float, error: float, high: float, agreement: float | None = None) -> dict[str, Any]:
    return {"low": low, "error": error, "high": high, "agreement": agreement}


OUT = {"images": 50, "errors": {"out": one(0.04, 0.05, 0.06), "aux": one(0.08, 0.1, 0.12, 0.96)}}


def file(**recorded: Any) -> Any:
    return SimpleNamespace(recorded={name: json.dumps(value) for name, value in recorded.items()})


@pytest.mark.parametrize(
    ("limit", "outcome"), [(13.0, "met"), (11.0, "inconclusive"), (7.0, "missed")]
)
def test_the_largest_error_is_judged_with_its_interval(limit: float, outcome: str) -> None:
    found = output_error(file(outputs=OUT), limit)
    assert (found.outcome, found.value, found.interval) == (outcome, 10.0, (8.0, 12.0))
    assert found.evidence == (
        "50 test images, relative error of each output: aux 10.00 %, out 5.00 %; the largest "
        "value is the same one for 96.00% of the images"
    )
    said = f"{outcome}: output_error 10.000% [8.000, 12.000], limit {limit:.3f}%"
    assert found.message.startswith(said)


@pytest.mark.parametrize("recorded", [{}, {"outputs": {"images": 0, "errors": {}}}])
def test_errors_that_nobody_recorded_are_never_met(recorded: dict[str, Any]) -> None:
    found = output_error(file(**recorded), 99.0)
    assert (found.outcome, found.value) == ("inconclusive", None)
    assert "records no output errors" in found.evidence


def test_many_outputs_are_counted() -> None:
    many = {"images": 9, "errors": {f"o{n}": one(0.0, n / 100, 0.1) for n in range(7)}}
    assert output_error(file(outputs=many), 20.0).evidence.endswith("o3 3.00 %, 3 more")


@pytest.mark.parametrize(("limit", "outcome"), [(0.05, "met"), (0.01, "missed")])
def test_what_a_score_fell_by_is_judged_as_it_is(limit: float, outcome: str) -> None:
    found = score_drop(file(score={"name": "mean_iou", "dense": 0.8, "slim": 0.77}), limit)
    assert (found.outcome, found.value) == (outcome, pytest.approx(0.03))
    assert found.evidence.startswith("mean_iou on the test images: dense 0.8, slim 0.77;")
    assert "0.030 of the score" in found.message
    assert score_drop(file(), 1.0).outcome == "inconclusive"


def test_accuracy_is_not_asked_of_a_file_that_was_judged_otherwise() -> None:
    assert judged_by(file().recorded) == ""
    assert "searched by its outputs (--task outputs); limit output_error" in judged_by(
        file(outputs=OUT).recorded
    )
    score = {"name": "mean_iou", "dense": 0.8, "slim": 0.77}
    assert "searched by the score mean_iou; limit score_drop" in judged_by(
        file(outputs=OUT, score=score).recorded
    )
