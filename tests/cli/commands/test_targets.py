"""targets as the shell runs it: list, show, init, check, add-table."""

import json
import tomllib

import onnxruntime
import pytest

from edgeprune.cli import target_file
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.target import load_target
from tests.endings import refused


def test_a_profile_is_shown_as_toml_or_json(run):
    code, out, _ = run("targets", "show", "mobile-cpu")
    assert code == 0
    assert tomllib.loads(out)["budget"]["relative"]["latency"] == 0.5
    out = run("targets", "show", "mobile-cpu", "--json", "-")[1]
    assert json.loads(out)["budget"]["relative"]["latency"] == 0.5


def test_a_profile_says_how_its_grid_is_known(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = run("targets", "show", "raspberry-pi-5")[1]
    assert "[channels]\n# assumed: " in out
    (tmp_path / "pi.json").write_text(json.dumps(table()))
    assert run("targets", "add-table", "pi.json")[0] == 0
    out = run("targets", "show", "raspberry-pi-5")[1]
    assert "# measured: the table carried from Cortex-A76, 4 cores, 2026-11-20\n" in out
    assert tomllib.loads(out)["core"] == "cortex-a76"


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


PI = {"arch": "aarch64", "system": "Linux", "cpu": "Cortex-A76", "cores": 4, "isa": ["asimd"]}


def table(**conditions):
    """A table of a Pi as its file has it; of the times no more than one network."""
    known = {
        "machine": identify(PI), "onnxruntime": onnxruntime.__version__, "threads": 4,
        "providers": ["CPUExecutionProvider"], "optimisation": "all", "clock": "wall",
    }  # fmt: skip
    timed = [[[16], 1.0]]
    return {
        "schema": 2,
        "conditions": known | conditions,
        "origin": {"target": "raspberry-pi-5", "machine": PI, "measured": "2026-11-20"},
        "networks": {"a": {"reference_ms": 0.1, "fitted": timed, "held_out": timed}},
    }


def test_a_table_of_a_device_is_kept_and_named(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pi.json").write_text(json.dumps(table()))
    code, out, _ = run("targets", "add-table", "pi.json")
    assert code == 0
    where = f"cache/edgeprune/calibration/latency/raspberry-pi-5/carried/{identify(PI)}.json"
    assert (tmp_path / where).is_file()
    assert f"Cortex-A76, 4 cores ({identify(PI)}), measured on 2026-11-20 with onnxruntime" in out
    assert out.endswith("next:\n  edgeprune search --target raspberry-pi-5\n")
    out = run("targets", "add-table", "pi.json", "--json", "-")[1]
    found = json.loads(out)
    assert (found["schema"], found["measured"], found["networks"]) == (
        "edgeprune.table/1", "2026-11-20", 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        ((), {"threads": 1}, "measured with threads 1, the target has 4"),
        (("--target", "x86-gateway"), {}, "measured with threads 4, the target has 1"),
        (("--target", "raspbery-pi-5"), {}, "unknown target 'raspbery-pi-5'"),
    ],
)
def test_a_table_that_does_not_fit_the_target_is_refused(run, tmp_path, words, changes, said):
    (tmp_path / "pi.json").write_text(json.dumps(table(**changes)))
    refused(run("targets", "add-table", "pi.json", *words), 2, said)


def test_what_is_no_table_is_refused(run, tmp_path):
    (tmp_path / "pi.json").write_text("[]")
    refused(run("targets", "add-table", "pi.json"), 2, "is not a latency table")
    refused(run("targets", "add-table", "none.json"), 2, "none.json")
