import json

import pytest

from edgeprune import run_folder
from edgeprune.errors import InputError


def test_runs_are_numbered_and_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run_folder.create(None, "pkg.mod:net", "mobile-cpu")
    second = run_folder.create(None, "pkg.mod:net", "mobile-cpu")
    assert [first.path.name, second.path.name] == [
        "pkg.mod-net-mobile-cpu-001",
        "pkg.mod-net-mobile-cpu-002",
    ]


def test_a_folder_with_content_is_refused_and_overwrite_removes_only_a_runs_files(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        run_folder.create(tmp_path, "m", "t")
    run_folder.create(tmp_path, "m", "t", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]


def test_a_file_as_out_is_refused(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="is a file"):
        run_folder.create(tmp_path / "f", "m", "t")


def test_records_add_up_and_events_are_lines_of_json(tmp_path):
    run = run_folder.RunFolder(tmp_path)
    run.record(status="running", seed=1)
    run.record(status="done")
    assert run.read() == {"schema": "edgeprune.run/1", "status": "done", "seed": 1}
    run.event("traced", groups=3)
    run.event("done")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["traced", "done"]
    assert lines[0]["groups"] == 3
