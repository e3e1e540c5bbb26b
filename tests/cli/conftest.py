"""A command as the shell runs it."""

import sys

import pytest

from edgeprune.cli.main import main
from edgeprune.cli.verbosity import verbosity


@pytest.fixture(autouse=True)
def _as_usual():
    """What a command was told by -q or -v ends with it."""
    yield
    verbosity.reset()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["edgeprune", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return command
