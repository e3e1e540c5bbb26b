"""Writes layers.json: widths, damage by width and predicted latency, layer by layer."""

from typing import Any

import numpy as np

from edgeprune.arrays import Widths
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.run.context import RunContext
from edgeprune.run.folder import RunFolder

NAME = "layers.json"
SCHEMA = "edgeprune.layers/1"


def write(context: RunContext, folder: RunFolder, widths: Widths) -> None:
    """Write what a report shows of one chosen network.

    Args:
        context: Context of the run.
        folder: The run folder, or that of one model of several.
        widths: Channels kept of each group, shape (G,).
    """
    problem, latency = context.problem, context.latency
    dense, slim = latency.by_block(problem.space.full), latency.by_block(widths)  # (B + 1,) each
    times = zip(latency.names, dense.tolist(), slim.tolist(), strict=True)
    content = {
        "schema": SCHEMA,
        "groups": _groups(problem, widths),
        "blocks": [
            dict(zip(("name", "dense_ms", "slim_ms"), line, strict=True)) for line in times
        ],
        "latency_error": problem.latency_error,
    }
    folder.write(NAME, content)


def _groups(problem: Problem, widths: Widths) -> list[dict[str, Any]]:
    """One line a group; the damage only where the search has measured it, as it is costly."""
    space = problem.space
    orders = vars(problem).get("orders")
    lines = []
    for place, (group, grid) in enumerate(zip(space.groups, space.grids, strict=True)):
        line = {"name": group.name, "dense": group.width, "slim": int(widths[place])}
        damage = None
        if orders is not None:
            damage = np.nan_to_num(orders[place].damage[list(grid)]).tolist()  # (len(grid),)
        lines.append(line | {"grid": list(grid), "damage": damage})
    return lines
