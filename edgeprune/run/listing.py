"""Lists run folders with what each came to, from run.json alone; a damaged one is named so."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprune.documents import read_json
from edgeprune.errors import InputError
from edgeprune.report.records import OUTPUT_ERROR, SCORE
from edgeprune.run.folder import SCHEMA
from edgeprune.text import one_line


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One run folder.

    Attributes:
        folder: Where it lies.
        changed: Time of the last change of run.json, ISO 8601, UTC.
        model: Name of the network.
        target: Name of the target profile.
        strategy: How channels were chosen.
        verdict: ``met``, ``missed``, ``inconclusive``; of a run without one its status:
            ``running``, ``interrupted``, ``failed``, ``damaged``. Of a family or of several
            targets how many were met.
        latency: Measured latency, slim over dense: as judged, else of the medians in ms; None
            where there is none.
        accuracy_drop: Percentage points lost on the test images; None where there is none.
        lost: The same in words, or the output error or score of a run that was judged by these.
        reason: Why it has no verdict, as far as it is known.
    """

    folder: Path
    changed: str
    model: str = ""
    target: str = ""
    strategy: str = ""
    verdict: str = ""
    latency: float | None = None
    accuracy_drop: float | None = None
    lost: str = ""
    reason: str = ""


def runs_in(folder: Path) -> tuple[Listed, ...]:
    """The run folders in a folder, latest last; the folder itself, if it is one.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name the one that holds run folders")
    inside = [folder] if (folder / "run.json").is_file() else sorted(folder.iterdir())
    found = [path / "run.json" for path in inside if (path / "run.json").is_file()]
    return tuple(_listed(path) for path in sorted(found, key=lambda path: path.stat().st_mtime))


def _listed(path: Path) -> Listed:
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    changed = time.isoformat(timespec="seconds")
    try:
        content = read_json(path, finite=False)
    except InputError as error:
        return Listed(folder=path.parent, changed=changed, verdict="damaged", reason=str(error))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        reason = "run.json holds no record of a run"
        return Listed(folder=path.parent, changed=changed, verdict="damaged", reason=reason)
    accuracy = _pair(content, "accuracy")
    return Listed(
        folder=path.parent,
        changed=changed,
        model=_text(content, "request", "model", "name"),
        target=_text(content, "request", "target", "name"),
        strategy=_text(content, "request", "strategy"),
        verdict=_verdict(content),
        latency=_latency(path.parent, content),
        accuracy_drop=accuracy[0] - accuracy[1] if accuracy else None,
        lost=_lost(content),
        reason=_text(content, "reason"),
    )


def _latency(folder: Path, content: dict[str, Any]) -> float | None:
    try:
        verdicts = _at(read_json(folder / "check.json", finite=False), "verdicts")
    except InputError:  # none was written, or it is damaged
        verdicts = None
    for verdict in verdicts if isinstance(verdicts, list) else ():
        value = _at(verdict, "value")
        if _at(verdict, "name") == "latency" and isinstance(value, int | float):
            return float(value)
    medians = _pair(content, "latency")
    return medians[1] / medians[0] if medians and medians[0] else None


def _lost(content: dict[str, Any]) -> str:
    """What became of the figure of the task."""
    if pair := _pair(content, "accuracy"):
        return f"{pair[0] - pair[1]:.2f}"
    if pair := _pair(content, OUTPUT_ERROR):
        return f"output error {pair[1]:.2f} %"
    pair = _pair(content, SCORE)
    return f"score {pair[0]:.4g} to {pair[1]:.4g}" if pair else ""


def _verdict(content: dict[str, Any]) -> str:
    members = content.get("family", content.get("targets"))
    if content.get("status") == "done" and isinstance(members, list):
        met = [m for m in members if isinstance(m, dict) and m.get("verdict") == "met"]
        return f"{len(met)} of {len(members)} met"
    return _text(content, "verdict") or _text(content, "status") or "damaged"


def _pair(content: dict[str, Any], name: str) -> tuple[float, float] | None:
    """The dense and the slim value of a result."""
    values = [_at(content, "results", name, side) for side in ("dense", "slim")]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def _text(content: Any, *names: str) -> str:
    value = _at(content, *names)
    return one_line(value) if isinstance(value, str) else ""


def _at(content: Any, *names: str) -> Any:
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content
