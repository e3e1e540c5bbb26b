"""The reports of a check that fails: what stopped it, and nothing of an earlier check."""

import json
from xml.etree import ElementTree

import pytest

from edgeprune.cli import reports
from edgeprune.deploy.gate import check as gate
from edgeprune.errors import InputError, MachineError

STALE = "of an earlier check"


@pytest.fixture
def stale(tmp_path):
    """Reports of an earlier check."""
    for name in ("out.json", "out.xml"):
        (tmp_path / name).write_text(STALE)
    return ("--json", "out.json", "--junit", "out.xml", "--github", "on")


def failure(folder):
    """What the reports say: outcome and code, text of the error."""
    body = json.loads((folder / "out.json").read_text())
    error = ElementTree.parse(folder / "out.xml").getroot().find("testsuite/testcase/error")
    assert error is not None
    assert body["reason"] == error.get("message")
    return body["outcome"], body["exit_code"], body["reason"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such file"), 2),
        (MachineError("no such device"), 3),
        (MemoryError(), 3),
        (OSError(28, "No space left on device", "f"), 3),
        (ZeroDivisionError("n/0"), 70),
    ],
)
def test_what_stops_a_check_is_reported(run, stale, tmp_path, monkeypatch, error, code):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(gate, "check", fail)
    found, out, err = run("check", "m.onnx", *stale)
    assert found == code
    outcome, reported, reason = failure(tmp_path)
    assert (outcome, reported) == ("error", code)
    assert err == f"edgeprune: {reason}\n"
    assert out.startswith("::error title=m.onnx%3A ")
    assert out.count("::error") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.onnx"], "none.onnx cannot be read"),
        (["none.onnx", "--target", "mobil-cpu"], "did you mean"),
        (["none.onnx", "--device", "ftp://host"], "neither local:// nor ssh://"),
        (["none.onnx", "--budget", "speed=1"], "--budget speed=1"),
        (["none.onnx", "--self-test"], "none.onnx cannot be read"),
        (["none.onnx", "--max-seconds", "-1"], "--max-seconds"),  # a wrong use of the command
        (["none.onnx", "--max-ratio", "half"], "--max-ratio"),
        ([], "Missing argument"),
    ],
)
def test_a_wrong_request_is_reported(run, stale, tmp_path, words, said):
    code, _, err = run("check", *words, *stale)
    assert code == 2
    assert failure(tmp_path)[:2] == ("error", 2)
    assert said in failure(tmp_path)[2]
    assert said in err


def test_a_failure_on_stdout_is_json_alone(run):
    code, out, err = run("check", "none.onnx", "--json=-", "--github", "on")
    assert code == 2
    assert json.loads(out)["reason"].startswith("none.onnx cannot be read")
    assert err.startswith("::error title=none.onnx")


def test_no_report_takes_the_place_of_what_is_judged(run, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    for words in (["--json", "m.onnx"], ["--junit", "./m.onnx"], ["--json=m.onnx"]):
        for wrong in ([], ["--max-seconds", "-1"]):
            code, _, err = run("check", "m.onnx", *words, *wrong)
            assert code == 2
            assert wrong or "is a file that is judged" in err
            assert (tmp_path / "m.onnx").read_text() == "mine"


def test_a_disk_that_takes_no_report_does_not_hide_the_reason(run, monkeypatch):
    def full(*args, **kwargs):
        raise MachineError("disk full")

    monkeypatch.setattr(reports, "write_whole", full)
    code, _, err = run("check", "none.onnx", "--json", "out.json", "--junit", "out.xml")
    assert code == 2
    assert "none.onnx cannot be read" in err


def test_other_commands_write_no_report(run, stale, tmp_path):
    assert run("probe", "--threads", *stale)[0] == 2
    assert (tmp_path / "out.json").read_text() == STALE


def test_the_environment_may_not_say_where_a_report_goes(run, tmp_path, monkeypatch):
    (tmp_path / "env.xml").write_text(STALE)
    monkeypatch.setenv("EDGEPRUNE_CHECK_JUNIT", "env.xml")
    code, _, err = run("check", "none.onnx", "--junit", "named.xml")
    assert code == 2
    assert "EDGEPRUNE_CHECK_JUNIT: only the command line may set this" in err
    assert (tmp_path / "env.xml").read_text() == STALE
    assert "<error" in (tmp_path / "named.xml").read_text()


def test_a_broken_project_file_is_reported_where_the_command_line_says(run, tmp_path):
    (tmp_path / "edgeprune.toml").write_text("[check")
    code, _, err = run("check", "none.onnx", "--json", "x.json", "--junit", "x.xml")
    assert (code, err.count("\n")) == (2, 1)
    assert "edgeprune.toml is not a TOML file" in (tmp_path / "x.json").read_text()
    assert "<error" in (tmp_path / "x.xml").read_text()


def test_a_refused_report_path_is_reported_in_the_other_report(run, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"m")
    code, _, err = run("check", "m.onnx", "--json", "m.onnx", "--junit", "x.xml")
    assert (code, err.count("\n")) == (2, 1)
    assert "m.onnx is a file that is judged" in (tmp_path / "x.xml").read_text()
    assert (tmp_path / "m.onnx").read_bytes() == b"m"
