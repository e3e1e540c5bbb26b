"""Budget shares: what a stage or sub-network must save, and what is left to those ahead."""

import numpy as np

from edgeprune.arrays import Floats, Widths
from edgeprune.prune.space.budget import Costs, narrowed
from edgeprune.prune.space.widths import PruningSpace


def stage_limits(
    space: PruningSpace, costs: Costs, widths: Widths, stages: list[tuple[int, ...]], limit: Floats
) -> Floats:
    """Cost shares that the first of ``stages`` must bring the network down to, shape (3,).

    What is still to be saved is shared out over the stages in proportion to the most that each
    could save, on a scale on which these savings add up: the cost itself for latencies, nearly
    its logarithm for the products of widths that MACs and parameters are. So the last stage
    ends on the budget itself, and none is asked for more than it can give.

    Args:
        space: All groups and their grids.
        costs: Predicted costs.
        widths: Widths after the stages before, shape (G,).
        stages: Group indices of this stage and of those ahead, in the order they are solved.
        limit: Budget of the whole network (latency, MACs, params); infinite where there is none.

    Returns:
        Highest cost shares after the first stage, infinite where there is no limit. They keep
        ``limit`` whenever the smallest widths of all ``stages`` together do.
    """
    everything = tuple(member for stage in stages for member in stage)
    corners = [widths] + [narrowed(space, widths[None], s)[0] for s in [*stages, everything]]
    now, *floors, least = costs.ratios(np.stack(corners))  # (3,) each
    power = _additive_power(now, np.stack(floors), least)
    savings = np.maximum(now**power - np.stack(floors) ** power, 0.0)  # (S, 3)
    share = savings[0] / np.maximum(savings.sum(0), 1e-12)
    within = np.clip(limit, least, now)
    left = np.maximum(now**power - share * (now**power - within**power), 0.0)
    asked = left ** (1 / power)
    if len(stages) == 1:
        asked = limit
    return np.where(np.isfinite(limit), np.maximum(asked, floors[0]), np.inf)


def _additive_power(now: Floats, floors: Floats, least: Floats) -> Floats:
    """The power of each cost on whose scale the stages' savings come closest to adding up.

    Args:
        now: Cost shares after the stages before, shape (3,).
        floors: Cost shares with one stage at its floor, shape (S, 3).
        least: Cost shares with all of them at their floors, shape (3,).

    Returns:
        Shape (3,): 1 where costs add up, near 0 (a logarithm) where they multiply.
    """
    # The gap need not have one minimum only, so every hundredth is tried.
    powers = np.linspace(0.01, 1.0, 100)[:, None, None]
    together = (now**powers - least**powers)[:, 0]  # (100, 3)
    apart = (now**powers - floors**powers).sum(1)  # (100, S, 3) -> (100, 3)
    gap = np.abs(apart / np.maximum(together, 1e-12) - 1.0)
    best: Floats = powers[gap.argmin(0), 0, 0]
    return best
