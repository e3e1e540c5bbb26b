"""GWCS: genetic wavelet channel search, stage by stage from concrete to abstract.

Our reconstruction of L. Chen, S. Gong, X. Shi, M. Shang, Dynamical conventional neural network
channel pruning by genetic wavelet channel search for image classification, Frontiers in
Computational Neuroscience 15:760554, 2021, of which only the abstract was at hand: all channels
are encoded as bits and divided into search spaces by functional layers from concrete to
abstract; a multi-stage genetic optimisation prunes them under a wavelet channel aggregation; no
ratio is preset. Decoding, objectives and each stage's share of a budget are ours. Every budget
that the smallest legal widths keep is kept, whether costs add up over stages or multiply.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from edgeprune.arrays import Genomes
from edgeprune.progress import Progress, part_of, silent
from edgeprune.prune.saliency.descriptors import Descriptors
from edgeprune.prune.search.engine.dominance import knee
from edgeprune.prune.search.engine.nsga2 import evolve
from edgeprune.prune.search.engine.population import Front, Objectives, Settings, spawned
from edgeprune.prune.search.strategies.gwcs_fitness import StageFitness
from edgeprune.prune.search.strategies.stage_budget import stage_limits
from edgeprune.prune.space.budget import Costs, Limits, over
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import kept_by
from edgeprune.prune.space.widths import PruningSpace


def search(
    space: PruningSpace,
    descriptors: tuple[Descriptors, ...],
    costs: Costs,
    limits: Limits,
    settings: Settings,
    progress: Progress = silent,
) -> Choice:
    """Choose which channels stay.

    Args:
        space: Channel groups and the widths the device rewards.
        descriptors: Wavelet descriptors per group.
        costs: Predicted costs of widths.
        limits: Budgets as shares of the dense model.
        settings: Size, operators and seed of the genetic algorithm of each stage.
        progress: Called after every generation of all stages.

    Returns:
        The choice. It keeps every limit that the smallest legal widths of all groups keep; the
        caller checks ``ratios`` against ``limits``, which may lie below those.
    """
    stages = space.stages
    seeds = spawned(settings.seed, len(stages))
    kept = {group.name: tuple(range(group.width)) for group in space.groups}
    widths = costs.dense.copy()
    scores: dict[str, float] = {}
    for number, members in enumerate(stages):
        ahead = stages[number + 1 :]
        fitness = StageFitness(
            space=space,
            descriptors=descriptors,
            costs=costs,
            members=members,
            fixed=widths,
            limits=stage_limits(space, costs, widths, [members, *ahead], limits.vector()),
            budget=limits.vector(),
            ahead=tuple(member for stage in ahead for member in stage),
        )
        of_stage = replace(settings, seed=seeds[number])
        front = evolve(
            partial(objectives, fitness),
            [2] * fitness.genes,
            of_stage,
            _seeds(fitness.genes, of_stage),
            part_of(progress, "searching", number, len(stages)),
        )
        masks, decoded = fitness.decode(_best(front, limits))
        widths = decoded[0]
        scores[f"aggregation of stage {number}"] = float(fitness.aggregation(masks)[0])
        kept |= kept_by([space.groups[member] for member in members], [mask[0] for mask in masks])
    return Choice(kept, widths, costs.ratios(widths[None])[0], scores)


def objectives(fitness: StageFitness, genomes: Genomes) -> Objectives:
    """Aggregation lost and latency share kept, both minimised; violation of the stage's limits.

    Genomes are bits, (P, C), over all channels of the stage. The values are (P, 2); the summed
    relative violation (P,) counts the stage's limits and what the stages ahead could no longer
    make good.
    """
    masks, widths = fitness.decode(genomes)
    ratios = fitness.costs.ratios(widths)  # (P, 3)
    lost = 1.0 - fitness.aggregation(masks)  # (P,)
    excess = over(ratios, fitness.limits)
    hopeless = over(fitness.least(widths), fitness.budget)
    return Objectives(np.stack([lost, ratios[:, 0]], 1), (excess + hopeless).sum(1))


def _seeds(genes: int, settings: Settings) -> Genomes:
    """All channels, none, and random strings of every density: ratios start spread out."""
    generator = np.random.default_rng(settings.seed)
    density = np.linspace(0.0, 1.0, max(settings.population, 2))[:, None]
    return (generator.random((len(density), genes)) < density).astype(np.int64)


def _best(front: Front, limits: Limits) -> Genomes:
    """The most aggregation under the budget; without a budget the knee of the front."""
    if limits.bind():
        index = int(np.argmin(front.values[:, 0] + 1e6 * front.violation))  # feasible first
    else:
        index = knee(front.values)
    return front.genomes[index : index + 1]
