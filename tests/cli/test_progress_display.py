"""Progress as it is seen: bars in a terminal, plain lines in a log, nothing when quiet."""

from io import StringIO

import pytest
from rich.console import Console

from edgeprune.cli import progress_display
from edgeprune.cli.verbosity import verbosity


def test_a_log_keeps_a_line_a_quarter_and_a_step_that_comes_again_starts_anew(capsys):
    with progress_display.shown() as progress:
        for _ in range(2):
            for done in range(9):
                progress("searching", done, 8)
            progress("a remark", 0, 0)
    lines = capsys.readouterr().err.splitlines()
    once = [f"searching: {25 * quarter} %" for quarter in range(5)]
    assert lines == [*once, "a remark"] * 2


@pytest.fixture
def log():
    """A log, the lines of it so far, and a clock that a test turns on."""
    shown, now = StringIO(), [0.0]
    lines = progress_display._Lines(Console(file=shown), clock=lambda: now[0])
    return lines, shown, now


def test_a_log_says_the_time_that_went_by_and_that_is_left_and_the_best(log):
    lines, shown, now = log
    lines("scoring", 0, 4)
    now[0] = 30.0
    lines("scoring", 1, 4, "best 0.48x, loss 0.31")
    now[0] = 120.0
    lines("scoring", 4, 4)
    assert shown.getvalue().splitlines() == [
        "scoring: 0 %",
        "scoring: 25 %, 30 s elapsed, about 1 min 30 s left; best 0.48x, loss 0.31",
        "scoring: 100 %, 2 min 00 s elapsed",
    ]


def test_a_step_that_finds_more_to_do_says_no_quarter_twice(log):
    lines, shown, _ = log
    for done, total in ((2, 4), (4, 4), (5, 8), (8, 8)):
        lines("measuring", done, total)
    lines.complete()
    assert shown.getvalue().splitlines() == ["measuring: 50 %", "measuring: 100 %"]


def test_a_step_that_is_left_early_ends_at_100_percent_when_the_next_begins(log):
    lines, shown, _ = log
    lines("scoring", 1, 4)
    lines("distilling", 0, 2)
    lines.complete()
    assert shown.getvalue().splitlines() == [
        "scoring: 25 %", "scoring: 100 %", "distilling: 0 %", "distilling: 100 %"
    ]  # fmt: skip


def test_a_step_that_fails_is_not_said_to_be_complete(capsys):
    with pytest.raises(ValueError, match="no"), progress_display.shown() as progress:
        progress("training", 1, 4)
        raise ValueError("no")
    assert capsys.readouterr().err == "training: 25 %\n"


@pytest.mark.parametrize("width", [120, 50])
def test_a_terminal_gets_a_bar_a_step_that_ends_at_100_percent(monkeypatch, width):
    shown = StringIO()
    terminal = Console(file=shown, force_terminal=True, width=width)
    monkeypatch.setattr(progress_display, "Console", lambda **_: terminal)
    with progress_display.shown() as progress:
        for step in ("first", "second", "first"):
            progress(step, 1, 2)
    last = shown.getvalue().rsplit("\r", 1)[-1]
    assert last.count("first") == 2 and last.count("second") == 1
    assert last.count("100 %") == 3


def test_quiet_shows_nothing(capsys, monkeypatch):
    monkeypatch.setattr(verbosity, "quiet", True)
    with progress_display.shown() as progress:
        progress("searching", 1, 2)
        progress("a remark", 0, 0)
    assert capsys.readouterr().err == ""
