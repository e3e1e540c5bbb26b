"""Run folders with their verdicts; what is damaged is named and costs the others nothing."""

import json
import os

import pytest

from edgeprune.errors import InputError
from edgeprune.run.listing import runs_in
from tests.run_folders import record


@pytest.fixture
def runs(tmp_path):
    """Writes run folders, each a second younger than the one before."""
    count = 0

    def write(name, content):
        nonlocal count
        path = tmp_path / name / "run.json"
        path.parent.mkdir()
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        count += 1
        os.utime(path, (count, count))
        return path.parent

    return write


def test_runs_are_listed_with_verdict_latency_and_points_lost(runs, tmp_path):
    runs("b", record())
    runs("a", record(verdict="missed"))
    (tmp_path / "other").mkdir()
    first, second = runs_in(tmp_path)
    assert (first.folder.name, second.folder.name) == ("b", "a")  # by time
    assert (first.verdict, second.verdict) == ("inconclusive", "missed")
    assert (first.model, first.target, first.strategy) == ("resnet20", "mobile-cpu", "joint")
    assert first.latency == pytest.approx(0.45)
    assert first.accuracy_drop == pytest.approx(0.5)
    assert first.changed == "1970-01-01T00:00:01+00:00"


def test_the_latency_is_the_judged_one_where_it_was_judged(runs, tmp_path):
    checked, broken, other = (runs(name, record()) for name in ("a", "b", "c"))
    verdicts = [{"name": "macs", "value": 0.1}, {"name": "latency", "value": 0.47}]
    (checked / "check.json").write_text(json.dumps({"verdicts": verdicts}))
    (broken / "check.json").write_text("{")
    (other / "check.json").write_text('{"verdicts": [3, {"name": "latency", "value": null}]}')
    assert [run.latency for run in runs_in(tmp_path)] == pytest.approx([0.47, 0.45, 0.45])


def test_of_several_targets_it_says_how_many_were_met(runs, tmp_path):
    lines = [{"target": "a", "verdict": "met"}, {"target": "b", "verdict": "failed"}]
    request = {"target": {"name": "a, b"}, "model": {"name": "resnet20"}}
    runs("both", {"schema": "edgeprune.run/1", "status": "done", "request": request,
                  "targets": lines})  # fmt: skip
    (found,) = runs_in(tmp_path)
    assert (found.target, found.verdict) == ("a, b", "1 of 2 met")


def test_a_run_folder_itself_is_listed(runs):
    folder = runs("a", record())
    assert [run.folder for run in runs_in(folder)] == [folder]


@pytest.mark.parametrize(
    ("content", "verdict", "reason"),
    [
        ("{", "damaged", "is not JSON"),
        ("[]", "damaged", "holds no record"),
        ({"schema": "other/1"}, "damaged", "holds no record"),
        ({"schema": "edgeprune.run/1"}, "damaged", ""),
        ({"schema": "edgeprune.run/1", "status": "running"}, "running", ""),
        (
            {"schema": "edgeprune.run/1", "status": "failed", "reason": "a\nb"},
            "failed",
            "a b",
        ),
        (
            {"schema": "edgeprune.run/1", "status": "done",
             "family": [{"verdict": "met"}, {"verdict": "not reached"}, 3]},
            "1 of 3 met",
            "",
        ),
        (record(results={"latency": {"dense": "x", "slim": 1}}), "inconclusive", ""),
        (record(results={"latency": 3, "accuracy": 3}), "inconclusive", ""),
        (record(results={"latency": {"dense": 0, "slim": 1}}), "inconclusive", ""),
    ],
)  # fmt: skip
def test_what_has_no_verdict_says_why(runs, tmp_path, content, verdict, reason):
    runs("a", content)
    (run,) = runs_in(tmp_path)
    assert run.verdict == verdict
    assert reason in run.reason
    if verdict != "damaged":
        assert run.latency is None


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        runs_in(tmp_path / "none")
