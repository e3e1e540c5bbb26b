"""targets as the shell runs it: list, show, init, check."""

import json
import tomllib

import pytest

from edgeprune.cli import target_file
from edgeprune.target import load_target
from tests.endings import refused


def test_a_profile_is_shown_as_toml_or_json(run):
    code, out, _ = run("targets", "show", "mobile-cpu")
    assert code == 0
    assert tomllib.loads(out)["budget"]["relative"]["latency"] == 0.5
    out = run("targets", "show", "mobile-cpu", "--json", "-")[1]
    assert json.loads(out)["budget"]["relative"]["latency"] == 0.5


def test_a_new_profile_is_written_once_and_named_by_what_follows(run, tmp_path, monkeypatch):
    profile = load_target("mobile-cpu").model_copy(update={"name": "my-board"})
    monkeypatch.setattr(target_file, "new", lambda name, device, progress: profile)
    code, out, _ = run("targets", "init", "my-board", "--device", "ssh://pi@host")
    assert code == 0
    assert "edgeprune search --target my-board --device ssh://pi@host" in out
    assert "my-board" in run("targets")[1]
    assert run("targets", "check", "targets/my-board.toml")[0] == 0
    before = (tmp_path / "targets" / "my-board.toml").read_text()
    refused(run("targets", "init", "my-board"), 2, "targets/my-board.toml exists")
    assert (tmp_path / "targets" / "my-board.toml").read_text() == before


def test_a_device_that_cannot_be_reached_leaves_no_file(run, tmp_path):
    refused(run("targets", "init", "a", "--device", "ftp://host"), 2, "neither local:// nor")
    assert not (tmp_path / "targets").exists()


BAD = """schema = 1
nmae = "x"
[budget.relative]
latency = 70
latenci = 1
[runtime]
threads = 0
"""


def test_everything_that_is_wrong_is_one_line_each(run, tmp_path):
    (tmp_path / "bad.toml").write_text(BAD)
    code, out, _ = run("targets", "check", "bad.toml")
    assert code == 2
    assert sorted(out.splitlines()) == [
        "bad.toml: budget.relative.latency: Input should be less than or equal to 10, got 70",
        "bad.toml: key 'name' is missing",
        "bad.toml: runtime.threads: Input should be greater than 0, got 0",
        "bad.toml: unknown key 'budget.relative.latenci', did you mean 'latency'?",
        "bad.toml: unknown key 'nmae', did you mean 'name'?",
    ]
    code, out, _ = run("targets", "check", "bad.toml", "--json", "-")
    found = json.loads(out)
    assert (code, found["valid"], len(found["problems"])) == (2, False, 5)


@pytest.mark.parametrize(("text", "said"), [("[", "not a TOML file"), (None, "cannot be read")])
def test_what_is_no_toml_is_refused(run, tmp_path, text, said):
    if text:
        (tmp_path / "bad.toml").write_text(text)
    refused(run("targets", "check", "bad.toml"), 2, said)
