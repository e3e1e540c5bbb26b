"""GWCS: genetic wavelet channel search, stage by stage from concrete to abstract.

Our reconstruction of L. Chen, S. Gong, X. Shi, M. Shang, Dynamical conventional neural network
channel pruning by genetic wavelet channel search for image classification, Frontiers in
Computational Neuroscience 15:760554, 2021, of which only the abstract was at hand: all channels
are encoded as bits and divided into search spaces by functional layers from concrete to
abstract; a multi-stage genetic optimisation prunes them under a wavelet channel aggregation; no
ratio is preset. Decoding, objectives and each stage's share of a budget are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeprune.prune.evolution import Front, Genomes, Objectives, Settings, evolve
from edgeprune.prune.fitness import Costs, Limits, StageFitness, Widths
from edgeprune.prune.saliency import Descriptors
from edgeprune.prune.space import PruningSpace

Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Choice:
    """What a search decided.

    Attributes:
        kept: Kept channel indices per group name.
        widths: Their counts, shape (G,).
        ratios: Predicted latency, MACs and params over dense, shape (3,).
        aggregation: Wavelet aggregation per stage, concrete to abstract.
    """

    kept: dict[str, tuple[int, ...]]
    widths: Widths
    ratios: NDArray[np.float64]
    aggregation: tuple[float, ...]


def search(
    space: PruningSpace,
    descriptors: tuple[Descriptors, ...],
    costs: Costs,
    limits: Limits,
    settings: Settings,
    watch: Watch = lambda done, total: None,
) -> Choice:
    """Choose which channels stay.

    Args:
        space: Channel groups and the widths the device rewards.
        descriptors: Wavelet descriptors per group.
        costs: Predicted costs of widths.
        limits: Budgets as shares of the dense model.
        settings: Genetic algorithm of each stage.
        watch: Called with (generations done, generations in all stages).

    Returns:
        The choice; the caller checks ``ratios`` against ``limits`` (it may be out of reach).
    """
    stages = _stages(space)
    kept = {group.name: tuple(range(group.width)) for group in space.groups}
    widths, scores = costs.dense.copy(), []
    for number, members in enumerate(stages):
        fitness = StageFitness(space, descriptors, costs, members, widths)
        fitness = replace(fitness, limits=_stage_limits(fitness, stages[number:], limits))
        front = evolve(
            partial(objectives, fitness),
            [2] * fitness.genes,
            replace(settings, seed=settings.seed + number),
            _seeds(fitness, settings),
            partial(_watch_stage, watch, number, len(stages)),
        )
        masks, decoded = fitness.decode(_best(front, limits))
        widths = decoded[0]
        scores.append(float(fitness.aggregation(masks)[0]))
        for member, mask in zip(members, masks, strict=True):
            kept[space.groups[member].name] = tuple(mask[0].nonzero().flatten().tolist())
    return Choice(kept, widths, costs.ratios(widths[None])[0], tuple(scores))


def _watch_stage(watch: Watch, number: int, stages: int, done: int, total: int) -> None:
    watch(number * total + done, stages * total)


def objectives(fitness: StageFitness, genomes: Genomes) -> Objectives:
    """Aggregation lost and latency share kept, both minimised; violation of the stage's limits.

    Args:
        fitness: The stage.
        genomes: Bits, shape (P, C) over all channels of the stage.

    Returns:
        Values (P, 2) and summed relative violation (P,).
    """
    masks, widths = fitness.decode(genomes)
    ratios = fitness.costs.ratios(widths)
    lost = 1.0 - fitness.aggregation(masks)
    excess = np.maximum(ratios / fitness.limits - 1.0, 0.0).sum(1)
    return Objectives(np.stack([lost, ratios[:, 0]], 1), excess)


def _stages(space: PruningSpace) -> list[tuple[int, ...]]:
    """Group indices per stage, concrete to abstract."""
    numbers = sorted({group.stage for group in space.groups})
    return [
        tuple(i for i, group in enumerate(space.groups) if group.stage == number)
        for number in numbers
    ]


def _stage_limits(
    fitness: StageFitness, ahead: list[tuple[int, ...]], limits: Limits
) -> NDArray[np.float64]:
    """What this stage must bring the whole network down to.

    What is still to be saved is shared out over this stage and those ahead in proportion to
    the most that each could save, so that the last stage ends on the budget itself.
    """
    now = fitness.costs.ratios(fitness.fixed[None])[0]
    savings = np.stack([now - _floor(fitness, members) for members in ahead])
    share = savings[0] / np.maximum(savings.sum(0), 1e-12)
    limit = limits.vector()
    needed = np.maximum(now - limit, 0.0)
    return np.where(np.isfinite(limit), now - needed * share, np.inf)


def _floor(fitness: StageFitness, members: tuple[int, ...]) -> NDArray[np.float64]:
    """Lowest cost shares with only these groups narrowed."""
    widths = fitness.fixed.copy()
    widths[list(members)] = [fitness.space.grids[member][0] for member in members]
    shares: NDArray[np.float64] = fitness.costs.ratios(fitness.space.settle(widths[None]))[0]
    return shares


def _seeds(fitness: StageFitness, settings: Settings) -> Genomes:
    """All channels, none, and random strings of every density: ratios start spread out."""
    generator = np.random.default_rng(settings.seed)
    density = np.linspace(0.0, 1.0, max(settings.population, 2))[:, None]
    return (generator.random((len(density), fitness.genes)) < density).astype(np.int64)


def _best(front: Front, limits: Limits) -> Genomes:
    """The most aggregation under the budget; without a budget the knee of the front."""
    if limits.bind():
        index = int(np.argmin(front.values[:, 0] + 1e6 * front.violation))
    else:
        index = _knee(front.values)
    return front.genomes[index : index + 1]


def _knee(values: NDArray[np.float64]) -> int:
    """The point furthest below the line between the front's ends, both axes scaled to 1."""
    span = np.maximum(values.max(0) - values.min(0), 1e-12)
    scaled = (values - values.min(0)) / span
    return int(np.argmin(scaled.sum(1)))
