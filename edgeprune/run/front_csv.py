"""Writes front.csv: networks worth a look, by every score, and why each was taken or not."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgeprune.errors import InputError
from edgeprune.files import contents, write_whole
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.run.measured_search import Candidate

NAME = "front.csv"
PREDICTED = "predicted_latency_ratio", "predicted_macs_ratio", "predicted_params_ratio"
LATENCY, LOSS = PREDICTED[0], "predicted_loss"
SCORES = {
    LOSS: "loss",
    "predicted_accuracy": "accuracy",
    "refit_loss": "refit loss",
    "refit_accuracy": "refit accuracy",
    "F2_loss": "F2 loss",
    "F2_accuracy": "F2 accuracy",
}
HEADINGS = (*PREDICTED, *SCORES, "measured_latency_ratio", "strategy", "chosen", "why", "widths")
_COSTS = "latency", "MACs", "params"


@runtime_checkable
class Surveyor(Protocol):
    """A search that keeps every network it has scored."""

    def front(self) -> Sequence[Choice]:
        """Scored networks that none beats in latency and loss, and all with dearer scores."""


@dataclass(frozen=True)
class Attempt:
    """What the making of one model came to.

    Attributes:
        limits: What was asked for.
        candidates: What was measured, in order; at least one.
        reached: Whether the last of them is chosen.
        strategy: Where the networks come from.
    """

    limits: Limits
    candidates: tuple[Candidate, ...]
    reached: bool
    strategy: str


def add(folder: Path, search: object, attempt: Attempt) -> None:
    """Bring front.csv up to date after a search.

    Latency is predicted by the table, MACs and params are counted; loss (cross-entropy plus
    divergence from the dense model) and accuracy are those on held-out images before any
    fine-tuning: folded and recalibrated, refitted, or distilled a little (F2, which decides).
    They are empty where a network was not scored so.

    Args:
        folder: The run folder; what the file holds already stays, unless it is beaten.
        search: Asked for its front where it is a :class:`Surveyor`.
        attempt: What was measured stays in the file, beaten or not.
    """
    seen = search.front() if isinstance(search, Surveyor) else ()
    measured = {_network(_numbers(c.choice)): c for c in attempt.candidates}
    rows = [_row(choice, attempt, measured) for choice in seen]
    rows += [_row(candidate.choice, attempt, measured) for candidate in measured.values()]
    rows += read(folder / NAME)
    lines = io.StringIO()
    table = csv.DictWriter(lines, HEADINGS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(_front(rows))
    write_whole(folder / NAME, lines.getvalue().encode())


def _numbers(choice: Choice) -> dict[str, str]:
    found = {name: f"{ratio:.4f}" for name, ratio in zip(PREDICTED, choice.ratios, strict=True)}
    for heading, name in SCORES.items():
        score = choice.scores.get(name)
        found[heading] = "" if score is None else f"{score:.4f}"
    return found | {"widths": " ".join(map(str, choice.widths))}


def _row(
    choice: Choice, attempt: Attempt, measured: Mapping[tuple[str, ...], Candidate]
) -> dict[str, str]:
    row = _numbers(choice)
    candidate = measured.get(_network(row))
    last = attempt.candidates[-1]
    chosen = attempt.reached and candidate is last
    why = _measured(candidate, attempt) if candidate else _passed_over(choice, last.aim)
    ratio = f"{candidate.measured.mid:.4f}" if candidate and candidate.measured else ""
    known = {"measured_latency_ratio": ratio, "strategy": attempt.strategy, "why": why}
    return row | known | {"chosen": "yes" if chosen else ""}


def _measured(candidate: Candidate, attempt: Attempt) -> str:
    """Why a network that was measured was taken or not."""
    limit = attempt.limits.latency
    if limit is None:
        return "the best by the last score; no limit of latency"
    if candidate.measured is None:
        return "the best by the last score; its latency is predicted, the device was not here"
    high = candidate.measured.high
    if high <= limit:
        return f"the best by the last score, measured up to {high:.3f}x, within {limit:g}x"
    return f"measured up to {high:.3f}x, over {limit:g}x"


def _passed_over(choice: Choice, aim: Limits) -> str:
    """Why a network was not even measured: over what was aimed at, or the score it fell by."""
    for name, ratio, limit in zip(_COSTS, choice.ratios, aim.vector(), strict=True):
        if ratio > limit * (1 + 1e-9):
            return f"{name} {ratio:.3f}x, over the {limit:.3f}x aimed at"
    if "F2 loss" in choice.scores:
        return "distilled; another had less F2 loss"
    if "refit loss" in choice.scores:
        return "refitted; others had less loss then and were distilled"
    return "scored; others were refitted or distilled"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file; none where there is none.

    Raises:
        InputError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(contents(path).decode(), newline="")))
        for row in rows:
            float(row[LATENCY]), float(row[LOSS] or "inf"), row["widths"], row["chosen"]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise InputError(f"{path} is damaged; delete it, and it begins anew") from None
    return rows


def _front(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """By latency; each network once; beaten ones only with a dearer score or a measurement."""
    chosen = {_network(row): row for row in rows if row["chosen"]}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    least = float("inf")
    for row in sorted(rows, key=lambda row: (float(row[LATENCY]), float(row[LOSS] or "inf"))):
        loss = float(row[LOSS] or "inf")
        judged = row["chosen"] or row.get("refit_loss") or row.get("F2_loss")
        if loss < least or judged or row.get("measured_latency_ratio"):
            found.setdefault(_network(row), chosen.get(_network(row), row))
        least = min(least, loss)
    return list(found.values())


def _network(row: Mapping[str, str]) -> tuple[str, ...]:
    """Identity of a network: those of the same widths may keep other channels."""
    return row[LATENCY], row[LOSS], row["widths"]
