"""GWCS: genetic wavelet channel search, stage by stage from concrete to abstract.

Our reconstruction of L. Chen, S. Gong, X. Shi, M. Shang, Dynamical conventional neural network
channel pruning by genetic wavelet channel search for image classification, Frontiers in
Computational Neuroscience 15:760554, 2021, of which only the abstract was at hand: all channels
are encoded and divided into search spaces by functional layers from concrete to abstract; a
multi-stage genetic optimisation prunes them under a wavelet channel aggregation; no ratio is
preset; distillation recovers the accuracy.

The aggregation is ours (saliency/surgeon.py). Representative is what the kept channels can rebuild
of the removed ones' wavelet coefficients as the next layers read them, discriminative the Fisher
weight of those layers' outputs; what is lost of both is the damage. Dropping a branch is priced
in the same units. Each stage adds its groups to the search space and goes on from the front
of the stage before, so that what looked cheap alone can be taken back. Genomes, objectives and
each stage's share of a budget are ours. Every budget that the smallest legal widths keep is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgeprune.arrays import Floats, Genomes
from edgeprune.progress import part_of
from edgeprune.prune.search.engine.dominance import knee
from edgeprune.prune.search.engine.nsga2 import evolve
from edgeprune.prune.search.engine.population import Front, Objectives, Repair, spawned, spread
from edgeprune.prune.search.evaluation.archive import Archive
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.repair import Repair as Repairing
from edgeprune.prune.search.strategies.gwcs_genomes import BitGenomes, Coding, WidthGenomes
from edgeprune.prune.search.strategies.stage_budget import stage_limits
from edgeprune.prune.space.budget import Limits, narrowed, over
from edgeprune.prune.space.choice import Choice


def search(problem: Problem, limits: Limits) -> Choice:
    """Choose which channels stay.

    By widths the front of the last stage is scored like that of any other search (refit, then a
    little distillation); without a budget, and by raw bits, its knee or best is the choice.

    Args:
        problem: The network, its widths, costs and curvature; ``problem.genome`` says what is
            evolved, ``problem.settings`` the size of each stage's evolution.
        limits: Budgets as shares of the dense model; without any the ratio is an outcome.

    Returns:
        The choice. It keeps every limit that the smallest legal widths of all groups keep; the
        caller checks ``ratios`` against ``limits``, which may lie below those.
    """
    stage, front = _evolved(problem, limits)
    return _chosen(problem, stage, front, limits)


def _evolved(problem: Problem, limits: Limits) -> tuple["_Stage", Front]:
    """The last stage and its front."""
    stages = problem.space.stages
    seeds = spawned(problem.settings.seed, len(stages))
    before = np.empty((0, 0), np.int64)
    for number in range(len(stages)):
        stage = _Stage.of(problem, stages[: number + 1], stages[number + 1 :], limits)
        settings = replace(problem.settings, seed=seeds[number])
        front = evolve(
            stage.objectives,
            stage.coding.choices,
            settings,
            stage.coding.seeds(settings, before),
            part_of(problem.progress, "searching", number, len(stages)),
            repair=stage.repair,
            room=problem.time_room,
        )
        before = front.genomes
    return stage, front


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """The search space of one stage: its groups and those of the stages before.

    Attributes:
        problem: The network and its costs.
        coding: What genomes mean.
        limits: Cost shares to be reached by this stage, (3,).
        budget: Cost shares of the whole network, (3,).
        ahead: Indices of the groups of the stages still to come.
        repair: Brings genomes under the limits, in the last stage; None before it.
    """

    problem: Problem
    coding: Coding
    limits: Floats
    budget: Floats
    ahead: tuple[int, ...]
    repair: Repair | None

    @classmethod
    def of(
        cls,
        problem: Problem,
        done: tuple[tuple[int, ...], ...],
        ahead: tuple[tuple[int, ...], ...],
        limits: Limits,
    ) -> "_Stage":
        """A stage whose search space are the groups of ``done``."""
        members = tuple(member for stage in done for member in stage)
        coding: Coding
        repair = None
        if problem.genome == "widths":
            coding = widths = WidthGenomes(problem, members)
            if not ahead and limits.bind():
                repair = _repairing(widths, limits)
        else:
            coding = BitGenomes.of(problem, members)
        costs, space = problem.costs, problem.space
        return cls(
            problem=problem,
            coding=coding,
            limits=stage_limits(space, costs, costs.dense, [members, *ahead], limits.vector()),
            budget=limits.vector(),
            ahead=tuple(member for stage in ahead for member in stage),
            repair=repair,
        )

    def objectives(self, genomes: Genomes) -> Objectives:
        """Damage, and cost or its opposite, both minimised; violation of the limits.

        The cost is the share of the latency. In the last stage under a budget that is settled,
        and of two networks within it the one with more MACs can learn more afterwards. The
        summed relative violation (P,) counts the stage's limits and what the stages ahead could
        no longer make good.
        """
        widths = self.coding.widths(genomes)
        ratios = self.problem.costs.ratios(widths)  # (P, 3)
        least = narrowed(self.problem.space, widths, self.ahead)
        excess = over(ratios, self.limits) + over(self.problem.costs.ratios(least), self.budget)
        second = ratios[:, 0] if self.repair is None else -ratios[:, 1]
        return Objectives(np.stack([self.coding.damage(genomes), second], 1), excess.sum(1))


def _repairing(coding: WidthGenomes, limits: Limits) -> Callable[[Genomes], Genomes]:
    """Brings genomes of all groups under the limits where it hurts least."""
    repair = Repairing(coding.encoding, coding.problem.costs, limits, coding.sensitivity)

    def repaired(genomes: Genomes) -> Genomes:
        found: Genomes = repair(coding.whole(genomes))[:, coding.members]
        return found

    return repaired


def _chosen(problem: Problem, stage: _Stage, front: Front, limits: Limits) -> Choice:
    """The network of the last stage's front that is worth most."""
    coding = stage.coding
    if isinstance(coding, WidthGenomes) and limits.bind():
        archive = Archive(problem=problem, encoding=coding.encoding)
        archive.begin(limits)
        genomes = spread(coding.whole(front.genomes), max(1, archive.room))
        archive.losses(genomes)
        choice = archive.decided(archive.ranked(limits, genomes))
        return replace(choice, scores={**choice.scores, **_lost(problem, coding, choice)})
    at = knee(front.values)
    if limits.bind():
        at = int(np.argmin(front.values[:, 0] + 1e9 * front.violation))  # feasible first
    genome = front.genomes[at]
    widths = coding.widths(genome[None])
    scores = {"damage": float(front.values[at, 0])}
    return Choice(coding.kept(genome), widths[0], problem.costs.ratios(widths)[0], scores)


def _lost(problem: Problem, coding: WidthGenomes, choice: Choice) -> dict[str, float]:
    """The damage of the network that was chosen, millinats."""
    genome = coding.encoding.genomes(choice.widths[None])
    return {"damage": float(coding.sensitivity.losses(genome)[0])}
