"""Writes tried.csv: every score that a search asked for, in order, with the predicted latency."""

import csv
import io
from pathlib import Path

import numpy as np

from edgeprune.files import contents, write_whole
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Scored

NAME = "tried.csv"
HEADINGS = (
    "score",
    "steps",
    "loss",
    "accuracy",
    "predicted_latency_ratio",
    "rule",
    "seconds",
    "shared",
    "widths",
)


def write(folder: Path, problem: Problem) -> None:
    """Write all scores so far; nothing where the strategy scores no network.

    A resumed search goes through its remembered scores again, so the order is that of one
    search without an interruption; ``seconds`` count from its last start.
    """
    evaluator = vars(problem).get("evaluator")  # to make one measures the curvature first
    scored: list[Scored] = evaluator.scored if evaluator else []
    if not scored:
        return
    names = [group.name for group in problem.space.groups]
    widths = np.array([[each.kept[name] for name in names] for each in scored], np.int64)  # (N, G)
    latency = problem.costs.ratios(widths)[:, 0]  # (N,)
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(HEADINGS)
    for each, ratio, row in zip(scored, latency, widths.tolist(), strict=True):
        accuracy = "" if each.score.accuracy is None else f"{each.score.accuracy:.4f}"
        numbers = f"{each.score.loss:.4f}", accuracy, f"{ratio:.4f}"
        seconds, shared = f"{each.seconds:.1f}", "yes" if each.shared else ""
        table.writerow(
            [each.kind, each.steps, *numbers, each.rule, seconds, shared, " ".join(map(str, row))]
        )
    write_whole(folder / NAME, lines.getvalue().encode())


def scored_widths(folder: Path, groups: int) -> list[tuple[int, ...]]:
    """Widths of the networks that the search of another run scored (F1), in order.

    Args:
        folder: Its run folder; none is known where it has no such file, or a damaged one.
        groups: Number of channel groups.
    """
    path = folder / NAME
    if not path.exists():
        return []
    try:
        table = csv.DictReader(io.StringIO(contents(path).decode(), newline=""))
        rows = [tuple(map(int, row["widths"].split())) for row in table if row["score"] == "F1"]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return []  # its scores are shared all the same, where both ask for the same network
    return [row for row in rows if len(row) == groups]
