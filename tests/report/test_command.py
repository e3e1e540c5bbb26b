"""``edgeprune report``: where the page goes, what it replaces, and how bad input ends."""

import json
import subprocess
import sys

import pytest

from edgeprune.cli import console
from edgeprune.cli.main import main
from edgeprune.errors import MachineError
from edgeprune.report import command
from edgeprune.report.page import GENERATOR
from tests.run_folders import record


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgeprune", "report", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


def test_one_run_gets_its_page_and_several_a_page_here(report, run_folder, tmp_path):
    folders = [run_folder(name) for name in ("a", "b")]
    assert report("a") == (0, "report: a/report.html\n", "")
    assert report(*folders) == (0, "report: comparison.html\n", "")
    assert report("a", "b", "-o", "x.html")[:2] == (0, "report: x.html\n")
    for path in (tmp_path / "a/report.html", tmp_path / "comparison.html", tmp_path / "x.html"):
        assert GENERATOR in path.read_text()[:4096]
    assert report("a")[0] == 0  # again: a report takes the place of a report


def test_the_page_of_a_copied_folder_is_the_same(report, run_folder):
    folder = run_folder("a")
    report(folder)
    first = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    moved = folder.rename(folder.parent / "elsewhere")
    report(moved)
    again = (moved / "report.html").read_text()
    assert again.replace("elsewhere", "a") == first.replace("elsewhere", "a")


def test_nothing_but_a_report_is_replaced(report, run_folder, tmp_path):
    run_folder("a")
    precious = tmp_path / "precious.html"
    precious.write_text("mine")
    code, _, err = report("a", "-o", precious)
    assert (code, precious.read_text()) == (2, "mine") and "is no report" in err
    (tmp_path / "a" / "report.html").symlink_to(precious)
    code, _, err = report("a")
    assert (code, precious.read_text()) == (2, "mine") and "is a link" in err
    for where, said in (("a", "not a regular file"), ("nowhere/x.html", "there is no folder")):
        code, _, err = report("a", "-o", where)
        assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "content", ["{", "[" * 100_000, '{"schema": "edgeprune.run/1", "results": {"a": NaN}}', None]
)
def test_a_damaged_run_is_one_line(report, run_folder, content):
    run_folder("a", run=content)
    code, out, err = report("a")
    assert (code, out, err.count("\n")) == (2, "", 1) and "run.json" in err


def test_a_damaged_file_beside_it_still_gives_a_page(report, run_folder):
    folder = run_folder(
        "a", check="{", front="\x00", layers='{"groups": NaN}', tried="x", events="x"
    )
    code, _, err = report("a")
    assert (code, err) == (0, "")
    assert "Not everything could be read" in (folder / "report.html").read_text()


def test_runs_of_the_same_name_are_told_apart(report, run_folder, tmp_path):
    for parent in ("one", "two"):
        run_folder(f"{parent}/r")
    assert report("one/r", "two/r")[0] == 0
    text = (tmp_path / "comparison.html").read_text()
    assert "one/r: chosen" in text and "two/r: chosen" in text


def test_without_plotly_it_says_what_to_install(run_folder, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r'pip install "edgeprune\[search\]"'):
        command.write_report([run_folder("a")])


def test_a_report_never_imports_torch(run_folder):
    code = (
        "import sys; from pathlib import Path; from edgeprune.report.command import write_report; "
        f"write_report([Path({str(run_folder('a'))!r})]); print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"


def test_a_summary_names_the_report_where_there_is_one(run_folder):
    folder = run_folder("a", run=json.dumps(record()))
    assert console._drawn(folder) == []
    command.write_report([folder])
    assert console._drawn(folder) == [f"report: {folder / 'report.html'}"]
