"""One-shot pruning rules (uniform, ranked, depth) and random walks, brought to a budget.

The rules return the smallest widths that they try where nothing keeps the limits. Papers on the
criteria that rank channels are named in saliency/criteria.py.
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from edgeprune.arrays import Floats, Genomes, Ints, Widths
from edgeprune.prune.space.budget import Costs, Limits
from edgeprune.prune.space.widths import PruningSpace

ABSOLUTE = ("taylor",)  # criteria in units of the loss, comparable between layers as they are
_SHARES = 400  # finer than the steps of any grid


def uniform(space: PruningSpace, costs: Costs, limits: Limits) -> Widths:
    """Widths (G,) at the largest common share that keeps the limits; no branch is dropped."""
    shares = np.linspace(1, 0, _SHARES)[:, None]  # (N, 1), widest first
    return _first_within(space, costs, limits, shares * space.full)


def ranked(
    space: PruningSpace,
    costs: Costs,
    limits: Limits,
    saliencies: Sequence[Tensor],
    *,
    relative: bool,
) -> Widths:
    """Widths (G,) under one threshold for all groups, as high as the limits demand.

    Args:
        space: Groups and grids; no branch is dropped.
        costs: Predicted costs.
        limits: Limits that must hold.
        saliencies: Saliency of each group's channels, (C,).
        relative: Divide each group's by its mean first, for criteria whose scale differs
            between layers.
    """
    scores = [s.double().cpu().numpy() for s in saliencies]
    if relative:
        scores = [s / max(float(s.mean()), 1e-12) for s in scores]
    every = np.sort(np.concatenate(scores))  # all channels of all groups
    places = np.linspace(0, len(every) - 1, min(_SHARES, len(every))).round().astype(int)
    thresholds = [*every[places], np.inf]
    counts = np.stack([(s >= np.array(thresholds)[:, None]).sum(1) for s in scores], 1)  # (N, G)
    return _first_within(space, costs, limits, counts)


def depth(space: PruningSpace, costs: Costs, limits: Limits, harms: dict[str, float]) -> Widths:
    """Widths (G,) with branches dropped, by the least of ``harms``, everything else at full width.

    ``harms`` holds the loss that dropping each branch alone adds.
    """
    steps = [space.full]
    for block in sorted(harms, key=lambda name: harms[name]):
        inside = np.array([g.droppable and g.block == block for g in space.groups])
        steps.append(np.where(inside, 0, steps[-1]))
    return _first(np.stack(steps), costs, limits)


def random_walks(
    choices: Sequence[int],
    excess: Callable[[Genomes], Floats],
    start: Ints,
    count: int,
    generator: np.random.Generator,
) -> Genomes:
    """Random networks just under the limits.

    Random groups give way until all limits hold, then random groups grow back while they do.

    Args:
        choices: Values of each gene; the first half are levels, the second criteria.
        excess: Summed violation of a population, (P,); 0 where every limit holds.
        start: The dense genome, shape (2 G,).
        count: Number of networks.
        generator: Source of every draw.

    Returns:
        Genomes, shape (count, 2 G); some still violate where limits are out of reach.
    """
    groups = len(choices) // 2
    genomes = np.repeat(start[None], count, 0)  # (count, 2 G)
    genomes[:, groups:] = generator.integers(0, choices[groups:], (count, groups))
    for _ in range(20 * groups):
        rows = np.flatnonzero(excess(genomes) > 0)
        if not len(rows):
            break
        group = generator.integers(0, groups, len(rows))
        genomes[rows, group] = generator.integers(0, np.maximum(genomes[rows, group], 1))
    rows = np.arange(count)
    for _ in range(20 * groups):
        grown = genomes.copy()
        group = generator.integers(0, groups, count)
        tops = np.asarray(choices)[group] - 1
        grown[rows, group] = np.minimum(grown[rows, group] + 1, tops)
        fits = excess(grown) == 0
        genomes[fits] = grown[fits]
    return genomes


def _first_within(space: PruningSpace, costs: Costs, limits: Limits, wanted: Floats) -> Widths:
    """The first of the rows of ``wanted`` (N, G) that keeps the limits once on the grid."""
    return _first(space.snap(np.maximum(wanted, 1)), costs, limits)


def _first(widths: Widths, costs: Costs, limits: Limits) -> Widths:
    within = (costs.ratios(widths) <= limits.vector()).all(1)  # (N,)
    chosen: Widths = widths[int(within.argmax()) if within.any() else -1]
    return chosen
