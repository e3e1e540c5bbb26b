"""Which of flag, environment, file, profile and default counts, and how that is shown."""

import pytest

from tests.endings import refused


def shown(out):
    """Options of a printed table: value and source by option."""
    rows = [line.split(maxsplit=2) for line in out.splitlines()[1:]]
    return {row[0]: tuple(part.strip() for part in row[1:]) for row in rows}


def test_each_value_is_shown_with_where_it_is_from(run, monkeypatch, tmp_path):
    (tmp_path / "edgeprune.toml").write_text("[search]\nmax-latency-ratio = 0.6\nepochs = 3\n")
    monkeypatch.setenv("EDGEPRUNE_SEARCH_EPOCHS", "4")
    code, out, err = run("search", "--print-config", "--strategy", "gwcs")
    found = shown(out)
    assert (code, err) == (0, "")
    assert found["--strategy"] == ("gwcs", "command line")
    assert found["--epochs"] == ("4", "EDGEPRUNE_SEARCH_EPOCHS")
    assert found["--max-latency-ratio"] == ("0.6", "edgeprune.toml")
    assert found["--max-accuracy-drop"] == ("1.0", "target mobile-cpu")
    assert found["--seed"] == ("0", "default")


@pytest.mark.parametrize(
    "words", [["check"], ["devices", "check"], ["export"], ["targets", "show"]]
)
def test_no_file_is_needed_to_show_the_options(run, words):
    assert run(*words, "--print-config")[0] == 0
    assert run(*words)[0] == 2


def test_a_file_cannot_end_a_check_by_the_options_that_all_commands_have(run, tmp_path):
    for name in ("version", "print-config", "help"):
        (tmp_path / "edgeprune.toml").write_text(f"[check]\n{name} = true\n")
        refused(run("check", "none.onnx"), 2, f"has no option '{name}'")


def test_a_nested_command_may_not_be_told_to_write_either(run, monkeypatch):
    monkeypatch.setenv("EDGEPRUNE_DEVICES_CHECK_JSON", "x.json")
    refused(run("devices", "check", "local://"), 2, "EDGEPRUNE_DEVICES_CHECK_JSON: only the")


def test_what_the_file_sets_is_said_and_noted_for_the_command_that_runs_alone(run, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.edgeprune.check]\nmax-seconds = 5\n")
    assert "edgeprune: pyproject.toml sets max-seconds = 5\n" in run("check", "none.onnx")[2]
    assert run("targets")[2] == ""
