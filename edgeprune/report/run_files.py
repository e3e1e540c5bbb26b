"""Reads what a report shows from run folders; what is missing or damaged is named, never fatal."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgeprune.deploy.gate.verdicts import Report, Verdict
from edgeprune.documents import parse_json, read_json, typed
from edgeprune.errors import InputError
from edgeprune.files import contents
from edgeprune.report.records import Attempts, Layers, Made, Network, Record, Run
from edgeprune.text import one_line

MOST_BYTES = 16 << 20  # of a CSV or the events; the largest that a search writes is below 1 MiB
MOST_ROWS = 20_000
T = TypeVar("T")


def read_runs(folder: Path) -> list[Run]:
    """Read a run folder; of one for several targets the folder of each.

    Raises:
        InputError: it is no run folder.
    """
    run = read_run(folder)
    found = []
    for name in run.record.requests:
        if (folder / name / "run.json").is_file():
            found.append(read_run(folder / name))
    return found or [run]


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: it is no run folder: without run.json nothing can be said.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a run folder; name the folder that --out named")
    if not (folder / "run.json").exists():
        raise InputError(f"{folder} holds no run.json, so no run; name the folder of a search")
    lacking: list[str] = []
    record = _record(folder)
    front = _optional(folder, "front.csv", _front, lacking) or ()
    tried: tuple[Network, ...] = ()
    if (folder / "tried.csv").exists():  # a pruning rule scores nothing, and leaves none
        tried = _optional(folder, "tried.csv", _tried, lacking) or ()
    times = _optional(folder, "events.jsonl", _times, lacking) or ("", "")
    whole = _whole(folder, record)
    return Run(
        name=one_line(folder.resolve().name),
        path=folder,
        record=record,
        models=_models(folder, record, lacking),
        front=front,
        tried=tried,
        began=times[0],
        ended=times[1],
        lacking=tuple(lacking),
        files=tuple(sorted(path.name for path in folder.iterdir() if path.is_file())[:100]),
        together=tuple(whole.requests.values()),
        shared=next((t.shared for t in whole.targets if t.target == folder.resolve().name), ()),
    )


def _whole(folder: Path, record: Record) -> Record:
    """The record of the run for several targets that a folder lies in; else its own."""
    folder = folder.resolve()
    if (folder.parent / "run.json").is_file():
        try:
            above = _record(folder.parent)
        except InputError:
            return record
        if above.requests.get(folder.name, {}).get("target") == record.request.get("target"):
            return above
    return record


def _record(folder: Path) -> Record:
    path = folder / "run.json"
    return typed(Record, read_json(path, finite=False), str(path))  # "none" is infinity


def _models(folder: Path, record: Record, lacking: list[str]) -> tuple[Made, ...]:
    if not record.family:
        return (_made(folder, "", record, lacking),)
    found = []
    for member in record.family:
        own = folder / member.folder
        try:
            found.append(_made(own, member.folder, _record(own), lacking))
        except InputError as error:
            lacking.append(str(error))
    return tuple(found) or (_made(folder, "", record, lacking),)


def _made(folder: Path, name: str, record: Record, lacking: list[str]) -> Made:
    finished = record.status == "done"
    quiet = lacking if finished else []  # a run that came to nothing has nothing to lack
    check = _optional(folder, "check.json", _check, quiet)
    layers = _optional(folder, "layers.json", _layers, quiet)
    attempts: Attempts = ()
    for verdict in check.verdicts if check else ():
        if verdict.name == "latency" and verdict.rule == "ratio":  # else nothing was timed
            attempts = _attempts(folder / "check.json", verdict, quiet)
    return Made(name=name, record=record, check=check, attempts=attempts, layers=layers)


def _optional(folder: Path, name: str, read: Callable[[Path], T], lacking: list[str]) -> T | None:
    """The content of a file; where it is missing or damaged a line says so."""
    path = folder / name
    if not path.exists():
        lacking.append(f"{path} is missing")
        return None
    try:
        return read(path)
    except InputError as error:
        lacking.append(str(error))
        return None


def _check(path: Path) -> Report:
    return typed(Report, read_json(path), str(path))


def _layers(path: Path) -> Layers:
    return typed(Layers, read_json(path), str(path))


def _attempts(path: Path, verdict: Verdict, lacking: list[str]) -> Attempts:
    """The timed runs behind the latency verdict; each session has a ratio of its own."""
    try:
        plain = [attempt["epochs"] for attempt in verdict.raw["attempts"]]
        found = typed(Attempts, plain, str(path))
        if all(math.isfinite(epoch.value) for attempt in found for epoch in attempt):
            return found
    except (KeyError, TypeError, ValueError, ZeroDivisionError, InputError):
        pass  # whatever is wrong with them, the line below is all there is to say
    lacking.append(f"{path}: its timed runs are damaged")
    return ()


def _rows(path: Path) -> list[dict[str, str]]:
    text = contents(path, MOST_BYTES).decode("utf-8-sig", errors="replace")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"{path} is damaged: {one_line(error)}") from None
    if len(rows) > MOST_ROWS:
        raise InputError(f"{path} has more than {MOST_ROWS:,} rows, the most that is read")
    return rows


def _front(path: Path) -> tuple[Network, ...]:
    return _networks(path, _of_front)


def _tried(path: Path) -> tuple[Network, ...]:
    return _networks(path, _of_tried)


def _networks(path: Path, read: Callable[[dict[str, str]], Network]) -> tuple[Network, ...]:
    try:
        return tuple(read(row) for row in _rows(path))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {one_line(error)}") from None


def _of_front(row: dict[str, str]) -> Network:
    """By its dearest score; earlier versions wrote no columns for those."""
    kinds = {"F2": "F2_", "refit": "refit_", "F1": "predicted_"}
    score = next((kind for kind, start in kinds.items() if row.get(f"{start}loss")), "")
    start = kinds.get(score, "predicted_")
    return Network(
        score=score,
        latency=_number(row["predicted_latency_ratio"]),
        loss=_optional_number(row.get(f"{start}loss")),
        accuracy=_optional_number(row.get(f"{start}accuracy")),
        measured=_optional_number(row.get("measured_latency_ratio")),
        widths=row["widths"],
        why=row.get("why") or "",
        chosen=bool(row.get("chosen")),
    )


def _of_tried(row: dict[str, str]) -> Network:
    steps = row["steps"]
    return Network(
        score=row["score"] if steps == "0" else f"{row['score']} after {steps} steps",
        latency=_number(row["predicted_latency_ratio"]),
        loss=_optional_number(row["loss"]),
        accuracy=_optional_number(row["accuracy"]),
        widths=row["widths"],
        rule=row["rule"],
    )


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _optional_number(text: str | None) -> float | None:
    """None where there is none; a network whose outputs are no numbers has no loss to show."""
    if not text:
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _times(path: Path) -> tuple[str, str]:
    """When the first and the last event was; a line that was cut off is skipped."""
    found = []
    for line in contents(path, MOST_BYTES).decode("utf-8", errors="replace").splitlines():
        try:
            event = parse_json(line, str(path), finite=False)
            found.append(one_line(event["at"])[:40])
        except (InputError, KeyError, TypeError):
            continue
    return (found[0], found[-1]) if found else ("", "")
