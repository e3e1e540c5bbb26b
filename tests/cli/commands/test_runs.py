"""runs as the shell runs it."""

import json

from tests.endings import refused
from tests.run_folders import record


def test_run_folders_are_listed_as_a_table_and_as_json(run, tmp_path):
    for name, verdict in (("a", "met"), ("b", "missed")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(record(verdict=verdict)))
    code, out, _ = run("runs")
    assert code == 0
    rows = [line.split()[:4] for line in out.splitlines()[1:]]
    assert sorted(rows) == [
        ["runs/a", "met", "0.450x", "0.50"], ["runs/b", "missed", "0.450x", "0.50"]
    ]  # fmt: skip
    found = json.loads(run("runs", "runs", "--json", "-")[1])
    assert {each["verdict"] for each in found["runs"]} == {"met", "missed"}


def test_without_a_folder_of_runs_it_is_one_line(run):
    refused(run("runs"), 2, "there is no folder runs")
