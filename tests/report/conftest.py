"""Run folders in a folder of the test's own."""

import json

import pytest

from tests.run_folders import REQUEST, record, write


@pytest.fixture
def run_folder(tmp_path):
    """Writes a run folder under a name, with the changes that a test wants."""
    return lambda name="r20", **files: write(tmp_path / name, **files)


@pytest.fixture
def family_folder(tmp_path):
    """A family of two; the third could not be had."""
    members = [
        {"latency": 0.7, "folder": "0.70", "exit_code": 0, "verdict": "met"},
        {"latency": 0.5, "folder": "0.50", "exit_code": 1, "verdict": "missed"},
        {"latency": 0.1, "folder": "0.10", "exit_code": 1, "verdict": "not reached",
         "reason": "the best that can be had is 0.2x"},
    ]  # fmt: skip
    wanted = REQUEST | {"family": [0.7, 0.5, 0.1]}
    own = record(family=members, request=wanted, results={}, chosen=None, verdict="")
    folder = write(tmp_path / "family", run=own, check=None, layers=None)
    for member in members[:2]:
        made = record(request={}, verdict=member["verdict"])
        write(folder / member["folder"], run=made, front=None, tried=None, events=None)
    (folder / "0.10").mkdir()
    failed = record(status="failed", results={}, request={}, chosen=None)
    (folder / "0.10" / "run.json").write_text(json.dumps(failed))
    return folder
