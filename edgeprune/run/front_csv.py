"""Writes front.csv: the scored networks that none beats in both predicted latency and loss."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgeprune.files import write_whole
from edgeprune.prune.space.choice import Choice

NAME = "front.csv"
PREDICTED = "predicted_latency_ratio", "predicted_macs_ratio", "predicted_params_ratio"
LATENCY, LOSS = PREDICTED[0], "predicted_loss"
HEADINGS = (*PREDICTED, LOSS, "predicted_accuracy", "strategy", "chosen", "widths")


@runtime_checkable
class Surveyor(Protocol):
    """A search that keeps every network it has scored."""

    def front(self) -> Sequence[Choice]:
        """Every network scored so far that none beats in both predicted latency and loss."""


def add(folder: Path, search: object, chosen: Choice | None, strategy: str) -> None:
    """Bring front.csv up to date after a search.

    Latency is predicted by the table, MACs and params are counted; loss (cross-entropy plus
    divergence from the dense model) and accuracy are those on held-out images before any
    fine-tuning, empty where the strategy does not score networks.

    Args:
        folder: The run folder; what the file holds already stays, unless it is beaten.
        search: Asked for its front where it is a :class:`Surveyor`.
        chosen: Stays in the file, beaten or not; None where nothing kept the limits.
        strategy: Where the networks come from.
    """
    seen = search.front() if isinstance(search, Surveyor) else ()
    rows = [_row(choice, strategy, "") for choice in seen]
    rows += _read(folder / NAME)
    if chosen is not None:
        rows.append(_row(chosen, strategy, "yes"))
    lines = io.StringIO()
    table = csv.DictWriter(lines, HEADINGS, lineterminator="\n")
    table.writeheader()
    table.writerows(_front(rows))
    write_whole(folder / NAME, lines.getvalue().encode())


def _row(choice: Choice, strategy: str, chosen: str) -> dict[str, str]:
    scores = [choice.scores.get(name) for name in ("loss", "accuracy")]
    numbers = [f"{ratio:.4f}" for ratio in choice.ratios]
    numbers += ["" if score is None else f"{score:.4f}" for score in scores]
    widths = " ".join(map(str, choice.widths))
    return dict(zip(HEADINGS, (*numbers, strategy, chosen, widths), strict=True))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _front(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """By latency; each network once, and no loss but a chosen one's above that of a faster one."""
    chosen = {_network(row) for row in rows if row["chosen"]}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    least = float("inf")
    for row in sorted(rows, key=lambda row: (float(row[LATENCY]), float(row[LOSS] or "inf"))):
        loss = float(row[LOSS] or "inf")
        if loss < least or row["chosen"]:
            mark = "yes" if _network(row) in chosen else ""
            found.setdefault(_network(row), {**row, "chosen": mark})
        least = min(least, loss)
    return list(found.values())


def _network(row: dict[str, str]) -> tuple[str, ...]:
    """Identity of a network: those of the same widths may keep other channels."""
    return row[LATENCY], row[LOSS], row["widths"]
