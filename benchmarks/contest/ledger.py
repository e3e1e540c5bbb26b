"""Keeps what has been run: one JSON line per result, appended as soon as it is there."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
IDENTITY = ("kind", "schedule", "model", "weights", "arm", "limit", "seed")


def identity(row: Row) -> tuple[Any, ...]:
    """What makes a result the same result: a second run of it would be a repetition."""
    return tuple(row.get(name) for name in IDENTITY)


@dataclass
class Ledger:
    """The results of one benchmark, on disk.

    Attributes:
        path: JSON lines; created with the first result.
        machine: What every new row says it was measured on.
        rows: Everything read or appended, oldest first.
    """

    path: Path
    machine: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = read(self.path)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if text != _whole(text):  # the next row begins on a line of its own
            self.path.write_text(_whole(text), encoding="utf-8")

    def find(self, **wanted: Any) -> dict[str, Any] | None:
        """The row of this identity; fields that are not named are ``None``."""
        looked_for = identity(wanted)
        return next((row for row in self.rows if identity(row) == looked_for), None)

    def append(self, seconds: float, **values: Any) -> dict[str, Any]:
        """Write one result at once; a stop in the next moment does not lose it."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        row = {**values, "seconds": round(seconds, 1), "machine": self.machine, "date": date}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row

    def folder(self) -> Path:
        """Where slim networks that no plan describes are kept."""
        folder = self.path.with_suffix(".nets")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a file; a last line that a stop cut short is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in _whole(path.read_text(encoding="utf-8")).splitlines()]


def _whole(text: str) -> str:
    return text[: text.rfind("\n") + 1]


def of(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows that have these values."""
    return [row for row in rows if all(row.get(name) == v for name, v in wanted.items())]
