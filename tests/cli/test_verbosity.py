"""What -q and -v change."""

from edgeprune.cli.verbosity import Verbosity
from edgeprune.run.folder import RunFolder


def test_notes_go_to_stderr_unless_quiet(capsys):
    Verbosity().tell("a note")
    Verbosity(quiet=True).tell("another")
    assert capsys.readouterr().err == "edgeprune: a note\n"


def test_verbose_says_every_event_of_a_run_in_one_line(capsys, tmp_path):
    RunFolder(tmp_path).event("candidate", limit=0.5)
    assert capsys.readouterr().err == ""
    Verbosity().listen()
    RunFolder(tmp_path).event("candidate", limit=0.5, reason="a\nb")
    line = capsys.readouterr().err
    assert line.endswith(" candidate limit=0.5 reason=a b\n")
