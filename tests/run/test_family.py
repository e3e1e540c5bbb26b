"""Exit codes and records of a family's members."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.run.family import Family, Member, recall_family
from edgeprune.run.folder import RunFolder
from edgeprune.run.outcome import Outcome, Row


def member(latency, code=None):
    if code is None:
        return Member(latency, Path(f"{latency:.2f}"), None, "no widths on the grid")
    report = SimpleNamespace(exit_code=code, outcome="missed" if code else "met")
    outcome = Outcome(Path("0.70"), (Row("latency", 2.0, 1.0, "ms"),), report)
    return Member(latency, Path("0.70"), outcome)


@pytest.mark.parametrize(
    ("codes", "worst"), [((0, 0), 0), ((0, 4), 4), ((4, 1, 0), 4), ((0, None), 1)]
)
def test_a_family_ends_with_the_worst_code_of_its_members(codes, worst):
    assert Family(Path(), tuple(member(0.7, code) for code in codes)).exit_code == worst


def test_a_member_is_one_line_of_run_json():
    assert member(0.7, 0).to_plain() == {
        "latency": 0.7,
        "folder": "0.70",
        "exit_code": 0,
        "verdict": "met",
        "results": {"latency": {"dense": 2.0, "slim": 1.0}},
    }
    missing = member(0.3).to_plain()
    assert (missing["verdict"], missing["exit_code"]) == ("not reached", 1)
    assert missing["reason"] == "no widths on the grid"


def test_a_finished_family_is_read_back_with_the_reasons_of_what_is_missing(tmp_path):
    folder = RunFolder(tmp_path)
    assert recall_family(folder) is None
    folder.record(status="done", family=[{"latency": 0.3}])
    folder.member("0.30").record(status="failed", reason="nothing is so fast")
    found = recall_family(folder)
    assert found is not None
    assert [(m.latency, m.outcome, m.reason) for m in found.members] == [
        (0.3, None, "nothing is so fast")
    ]
