"""Writes tried.csv: every score that a search asked for, in order, with the predicted latency."""

import csv
import io
from pathlib import Path

import numpy as np

from edgeprune.files import write_whole
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
        numbers = f"{each.score.loss:.4f}", f"{each.score.accuracy:.4f}", f"{ratio:.4f}"
        seconds = f"{each.seconds:.1f}"
        table.writerow(
            [each.kind, each.steps, *numbers, each.rule, seconds, " ".join(map(str, row))]
        )
    write_whole(folder / NAME, lines.getvalue().encode())
