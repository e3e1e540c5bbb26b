"""The run folder: its files, its lock, and what an overwritten run left."""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.documents import read_json
from edgeprune.errors import InputError
from edgeprune.files import disk_errors, write_whole
from edgeprune.text import one_line, shortened

_log = logging.getLogger(__name__)
SCHEMA = "edgeprune.run/1"
PREVIOUS = ".previous"
SEARCH = "search"
MEMBER = re.compile(r"\d\.\d+")
FILES = (
    "run.json",
    "events.jsonl",
    "latency.json",
    "front.csv",
    "tried.csv",
    "plan.json",
    "layers.json",
    "recovery.pt",
    "model.pt",
    "dense.pt",
    "dense.onnx",
    "model.onnx",
    "check.json",
    "report.html",
)


@dataclass(frozen=True)
class RunFolder:
    """Files of a run; every write is whole or not at all, so a killed run stays readable."""

    path: Path

    def event(self, name: str, **fields: Any) -> None:
        """Append one line to events.jsonl."""
        said = " ".join(f"{key}={value}" for key, value in fields.items())
        _log.info("%s", shortened(one_line(f"{name} {said}"), " ..."))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": now, "event": name, **fields})
        with disk_errors(self.path), (self.path / "events.jsonl").open("a", encoding="utf-8") as f:
            f.write(line + "\n")

    def record(self, **fields: Any) -> None:
        """Add fields to run.json; the last value of a field counts."""
        known = self.read()
        self.write("run.json", {"schema": SCHEMA, **known, **fields})

    def read(self) -> dict[str, Any]:
        """The content of run.json, empty before the first record."""
        path = self.path / "run.json"
        content = read_json(path, finite=False) if path.exists() else {}  # "none" is infinity
        if not isinstance(content, dict):
            raise InputError(f"{path} is damaged: it holds no record of a run")
        return content

    def write(self, name: str, content: Any) -> None:
        """Write one JSON file of the run."""
        write_whole(self.path / name, (json.dumps(content, indent=2) + "\n").encode())

    def member(self, name: str) -> "RunFolder":
        """The folder of one model of several; made where it is missing."""
        return RunFolder(_made(self.path / name))

    def search(self) -> Path:
        """Where an unfinished search keeps what it knows; made where it is missing."""
        return _made(self.path / SEARCH)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes out while this one works here; a killed one lets go by itself.

        Raises:
            InputError: another process is at work in this folder.
        """
        lock = os.open(self.path, os.O_RDONLY)
        try:
            _lock(lock, self.path)
            yield
        finally:
            os.close(lock)

    def discard(self) -> None:
        """Undo ``create`` for a run that never began: an earlier run gets its place back."""
        _restore(self.path)
        for empty in (self.path / PREVIOUS, self.path):
            with contextlib.suppress(OSError):
                empty.rmdir()

    def finish(self) -> None:
        """Let go of the run that this one replaced."""
        shutil.rmtree(self.path / PREVIOUS, ignore_errors=True)


def create(out: Path | None, model: str, target: str, *, overwrite: bool = False) -> RunFolder:
    """Make the run folder: ``out``, or the next free ``runs/MODEL-TARGET-NNN``.

    With ``overwrite`` the files of an earlier run are set aside in ``.previous`` until this one
    is finished.

    Raises:
        InputError: ``out`` holds something and ``overwrite`` is not set, is no folder, or
            another process is at work in it.
        MachineError: the disk refuses.
    """
    if out is None:
        plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in model)
        with disk_errors(Path("runs")):
            return RunFolder(_next_free(Path("runs"), f"{plain}-{target}"))
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        unfinished = _known(out).get("status", "done") != "done"
        way = "pass --resume to go on with its run" if unfinished else "name another folder"
        raise InputError(f"--out {out} is not empty; {way} or pass --overwrite")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        if overwrite:
            with RunFolder(out).claimed():  # nothing is taken from a run that is at work
                if (out / PREVIOUS).is_dir():  # an overwriting run was killed here
                    _restore(out)
                _move(out, out / PREVIOUS)
    write_whole(out / "run.json", b"{}", overwrite=False)  # of two runs at once one gets it
    return RunFolder(out)


def reopen(out: Path | None) -> RunFolder:
    """The folder of an earlier run, to go on with it.

    Raises:
        InputError: there is no run in ``out``.
    """
    if out is None:
        raise InputError("--resume without --out: name the folder of the run")
    if not _known(out):
        raise InputError(
            f"--out {out} holds no run to go on with; leave --resume out to begin one"
        )
    return RunFolder(out)


def member_name(ratio: float) -> str:
    """The folder name of one model of a family: ``0.70``."""
    return f"{ratio:.2f}" if round(ratio, 2) == ratio else f"{ratio:g}"


def _known(out: Path) -> dict[str, Any]:
    """What the run in a folder has written down; nothing where there is none to go on with."""
    try:
        known = RunFolder(out).read()
    except (OSError, InputError):
        return {}
    return known if known.get("schema") == SCHEMA and "request" in known else {}


def _restore(folder: Path) -> None:
    """Put what was set aside in the place of what the latest run wrote."""
    for path in _written(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    _move(folder / PREVIOUS, folder)


def _move(folder: Path, to: Path) -> None:
    """Move what a run writes, and nothing else."""
    for path in _written(folder):
        to.mkdir(exist_ok=True)
        path.replace(to / path.name)


def _written(folder: Path) -> list[Path]:
    """What runs wrote in a folder: files and folders by their names, those of members."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    targets = _known(folder).get("requests", {})
    named = [p for p in inside if MEMBER.fullmatch(p.name) or p.name in targets]
    members = [p for p in named if (p / "run.json").is_file()]
    return [p for p in inside if p.name in (*FILES, SEARCH)] + members


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process is at work in {folder}; wait for it") from None


def _made(folder: Path) -> Path:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _next_free(parent: Path, stem: str) -> Path:
    for number in range(1, 10_000):
        path = parent / f"{stem}-{number:03d}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise InputError(f"{parent} already holds 9,999 runs of {stem}; name a folder with --out")
