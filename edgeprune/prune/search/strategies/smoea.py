"""SMOEA: sub-network multi-objective evolution, a few consecutive layers at a time.

Our reconstruction of Li, Sun, Huang, Chen, arXiv 2211.01957, 2022, of which only the
abstract was at hand: the multi-objective problem is posed on a sub-network of the full model,
convolution layers are pruned progressively in groups, and a compromise is picked from each
front. The genome, the damage, the layers of a group, each one's share of the budget, the seeds
and the rounds are ours.

A sub-network is about :data:`LAYERS` groups of one stage; a residual branch is never split.
NSGA-II weighs its damage against the predicted cost of the whole network while the rest stays as
it is; the knee of the front is taken, BatchNorm recalibrated, and the next sub-network
follows. In the first round a sub-network gains nothing by saving more than its share of the
budget; the last round saves what is left of it. Every budget that the smallest legal widths keep
is kept; below them the choice ends on these widths.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from edgeprune.progress import part_of
from edgeprune.prune.search.engine.nsga2 import evolve
from edgeprune.prune.search.engine.population import Settings, spawned
from edgeprune.prune.search.evaluation.masked import MaskedNetwork
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies.smoea_task import Masks, Task, widths_of
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import kept_by
from edgeprune.prune.space.widths import PruningSpace
from edgeprune.text import digest

LAYERS = 3
ROUNDS = 2
POPULATION = 20
GENERATIONS = 8
MUTATION = 0.05  # 1/genes would hardly touch the few genes of widths among the bits


def search(problem: Problem, limits: Limits) -> Choice:
    """Choose which channels stay.

    Args:
        problem: The network, its widths and costs, images and criteria. Of its settings the seed
            counts, and population and generations as far as they are below :data:`POPULATION`
            and :data:`GENERATIONS`: every genome costs a pass over the network.
        limits: Budgets as shares of the dense model; without any, one round of knees decides.

    Returns:
        The choice. It keeps every limit that the smallest legal widths of all groups keep; the
        caller checks ``ratios`` against ``limits``, which may lie below those.
    """
    seed = problem.settings.seed
    network = MaskedNetwork(problem.trace, problem.images.val, seed=seed, task=problem.task)
    masks: Masks = tuple(torch.ones(g.width, dtype=torch.bool) for g in problem.space.groups)
    parts = subnetworks(problem.space)
    rounds = ROUNDS if limits.bind() else 1
    steps = [(turn, number) for turn in range(rounds) for number in range(len(parts))]
    seeds = spawned(seed, len(steps))
    history = digest(f"held-out images of seed {seed}")
    scores: dict[str, float] = {}
    for done, (turn, number) in enumerate(steps):
        ratios = problem.costs.ratios(widths_of(masks)[None])[0]
        if number == 0 and turn and (ratios <= limits.vector()).all():
            break
        # BatchNorm was recalibrated after each choice before: the damage depends on all of them.
        place = f"{history} {parts[number]}"
        damage = network.damage(network.span(parts[number]), masks)
        task = Task(
            problem=problem,
            parts=parts,
            number=number,
            standing=masks,
            limits=limits,
            damage=_remembered(problem.memo, place, damage),
            last=turn == ROUNDS - 1,
        )
        settings = _settings(problem.settings, seeds[done])
        front = evolve(
            task.objectives,
            task.choices,
            settings,
            task.seeds(settings),
            part_of(problem.progress, "searching", done, len(steps)),
            repair=task.repair,
            room=problem.time_room,
        )
        masks, lost = task.compromise(front)
        scores[f"damage at {problem.space.groups[parts[number][0]].name}"] = lost
        network.recalibrate(masks, problem.images.train)
        history = digest(f"{history} {_packed(masks)}")
    widths = widths_of(masks)
    kept = kept_by(problem.space.groups, masks)
    return Choice(kept, widths, problem.costs.ratios(widths[None])[0], scores)


def subnetworks(space: PruningSpace) -> tuple[tuple[int, ...], ...]:
    """Group indices of each sub-network, in the order of the network.

    The groups of a stage are shared out evenly in their order; those of one residual branch stay
    together, since they are dropped together.
    """
    parts: list[tuple[int, ...]] = []
    for stage in space.stages:
        units: dict[str, list[int]] = {}
        for index in stage:
            units.setdefault(space.groups[index].block or f"#{index}", []).append(index)
        fair = len(stage) / -(-len(stage) // LAYERS)
        shared: dict[int, list[int]] = {}
        before = 0
        for unit in units.values():
            shared.setdefault(int(before / fair), []).extend(unit)
            before += len(unit)
        parts += [tuple(sorted(members)) for members in shared.values()]
    return tuple(parts)


def _settings(asked: Settings, seed: int) -> Settings:
    """Settings of the evolution of one sub-network."""
    return replace(
        asked,
        population=min(asked.population, POPULATION),
        generations=min(asked.generations, GENERATIONS),
        mutation=MUTATION if asked.mutation is None else asked.mutation,
        seed=seed,
    )


def _remembered(
    memo: Memo, place: str, damage: Callable[[Masks], float]
) -> Callable[[Masks], float]:
    """``damage`` at a ``place``, which names all that it depends on beside the masks."""

    def known(masks: Masks) -> float:
        given = [place, _packed(masks)]
        return memo.recall("damage", given, lambda: {"damage": damage(masks)})["damage"]

    return known


def _packed(masks: Masks) -> str:
    """The masks' bits as hexadecimal digits, group by group."""
    return " ".join(np.packbits(mask.numpy()).tobytes().hex() for mask in masks)
