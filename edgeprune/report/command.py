"""Writes reports: report.html into a run folder, or one page that compares several runs."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgeprune.errors import InputError, MachineError
from edgeprune.files import write_whole
from edgeprune.report.records import Run
from edgeprune.report.run_files import read_runs
from edgeprune.text import one_line

NAME = "report.html"
COMPARISON = "comparison.html"
NEEDED = ("plotly", "jinja2")


def write_report(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Draw the report of one run or of several.

    Args:
        folders: Run folders; the order is that of the page.
        output: File to write; by default ``report.html`` in the only folder, or
            ``comparison.html`` here. An earlier report is replaced, anything else is not.

    Returns:
        The file that was written.

    Raises:
        InputError: a folder holds no run, or the file is something else than a report.
        MachineError: a package is not installed, or the disk refuses.
    """
    missing = [name for name in NEEDED if not find_spec(name)]
    if missing:
        raise MachineError(
            f'a report needs {missing[0]}, which is not installed: pip install "edgeprune[search]"'
        )
    runs = _told_apart([run for folder in folders for run in read_runs(folder)])
    inside = folders[0] / NAME if len(folders) == 1 else Path(COMPARISON)
    path = output or inside
    _refuse_other(path)
    from edgeprune.report.page import render

    write_whole(path, render(runs).encode())
    return path


def _told_apart(runs: list[Run]) -> list[Run]:
    """Runs of equal names by the paths that they were given as."""
    names = [run.name for run in runs]
    return [
        replace(run, name=one_line(run.path)) if names.count(run.name) > 1 else run for run in runs
    ]


def _refuse_other(path: Path) -> None:
    """A report takes the place of a report alone; a link in a foreign folder may lead anywhere.

    Raises:
        InputError: the path is taken by something else, or its folder is missing.
    """
    from edgeprune.report.page import GENERATOR

    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_symlink():
        raise InputError(f"{path} is a link; name another file with -o")
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; name another with -o")
    with path.open("rb") as file:
        start = file.read(4096)
    if GENERATOR.encode() not in start:
        raise InputError(f"{path} exists and is no report; name another file with -o")
