import json

import pytest

from edgeprune.errors import InputError
from edgeprune.run import folder as run_folder


def test_runs_are_numbered_and_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run_folder.create(None, "pkg.mod:net", "mobile-cpu")
    second = run_folder.create(None, "pkg.mod:net", "mobile-cpu")
    assert [first.path.name, second.path.name] == [
        "pkg.mod-net-mobile-cpu-001",
        "pkg.mod-net-mobile-cpu-002",
    ]


@pytest.fixture
def earlier(tmp_path):
    """A folder with a run and a file of the user's own."""
    (tmp_path / "model.pt").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_with_content_is_refused(earlier):
    with pytest.raises(InputError, match="--overwrite"):
        run_folder.create(earlier, "m", "t")
    assert names(earlier) == ["model.pt", "notes.txt"]


@pytest.mark.parametrize(
    ("status", "offered"), [("running", True), ("failed", True), ("done", False)]
)
def test_an_unfinished_run_is_offered_to_be_gone_on_with(tmp_path, status, offered):
    out = tmp_path / "out"
    run_folder.create(out, "m", "t").record(status=status, request={})
    with pytest.raises(InputError, match="--overwrite") as refused:
        run_folder.create(out, "m", "t")
    assert ("--resume" in str(refused.value)) is offered


def test_overwrite_replaces_a_runs_files_and_nothing_else(earlier):
    run = run_folder.create(earlier, "m", "t", overwrite=True)
    run.record(status="done")
    run.finish()
    assert names(earlier) == ["notes.txt", "run.json"]


def test_a_run_that_never_began_gives_the_earlier_one_its_place_back(earlier):
    run = run_folder.create(earlier, "m", "t", overwrite=True)
    run.event("started")
    run.discard()
    assert names(earlier) == ["model.pt", "notes.txt"]
    assert (earlier / "model.pt").read_bytes() == b"old"


def test_an_overwriting_run_that_was_killed_does_not_spoil_the_earlier_one(earlier):
    killed = run_folder.create(earlier, "m", "t", overwrite=True)
    killed.record(status="running")
    (earlier / "model.pt").write_bytes(b"half a run")
    wrong = run_folder.create(earlier, "m", "t", overwrite=True)
    wrong.discard()
    assert names(earlier) == ["model.pt", "notes.txt"]
    assert (earlier / "model.pt").read_bytes() == b"old"


def test_folders_of_a_run_are_set_aside_and_come_back_with_it(earlier):
    first = run_folder.create(earlier, "m", "t", overwrite=True)
    (first.search() / "evaluations.jsonl").write_text("{}\n")
    first.member("0.70").record(status="done")
    (earlier / "0.9").mkdir()
    (earlier / "0.9" / "mine.txt").write_text("not a run's")
    first.finish()
    for _ in range(2):  # the first of the two is killed
        wrong = run_folder.create(earlier, "m", "t", overwrite=True)
        assert names(earlier) == [".previous", "0.9", "notes.txt", "run.json"]
        wrong.member("0.50").record(status="running")
        wrong.search()
    wrong.discard()
    assert names(earlier) == ["0.70", "0.9", "notes.txt", "run.json", "search"]
    assert (earlier / "search" / "evaluations.jsonl").read_text() == "{}\n"


def test_only_a_run_can_be_gone_on_with(tmp_path):
    run = run_folder.RunFolder(tmp_path)
    for content in (None, "{", "[]", '{"schema": "edgeprune.run/1"}'):
        if content:
            (tmp_path / "run.json").write_text(content)
        with pytest.raises(InputError, match="holds no run"):
            run_folder.reopen(tmp_path)
    (tmp_path / "run.json").unlink()
    run.record(request={})
    assert run_folder.reopen(tmp_path).path == tmp_path


def test_while_one_process_works_in_a_folder_another_is_kept_out(tmp_path):
    run = run_folder.RunFolder(tmp_path)
    said = pytest.raises(InputError, match="another process is at work")
    with run.claimed(), said, run.claimed():
        raise AssertionError("both got in")
    with run.claimed():
        assert names(tmp_path) == []


def test_of_two_runs_at_once_one_gets_the_folder(tmp_path, monkeypatch):
    run_folder.create(tmp_path / "run", "m", "t")
    monkeypatch.setattr("pathlib.Path.iterdir", lambda path: iter(()))  # both looked before
    with pytest.raises(InputError, match="exists"):
        run_folder.create(tmp_path / "run", "m", "t")


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


def test_overwriting_takes_nothing_from_a_run_that_is_at_work(tmp_path):
    out = tmp_path / "out"
    working = run_folder.create(out, "resnet20", "mobile-cpu")
    working.record(status="running")
    with working.claimed(), pytest.raises(InputError, match="another process is at work"):
        run_folder.create(out, "resnet20", "mobile-cpu", overwrite=True)
    assert working.read()["status"] == "running"
    assert not (out / run_folder.PREVIOUS).exists()
    assert run_folder.create(out, "resnet20", "mobile-cpu", overwrite=True).read() == {}
