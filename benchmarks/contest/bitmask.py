"""An ablation: a genome of the raw bits of all channels, as they come, on no grid."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeprune.arrays import Genomes, Widths
from edgeprune.prune.search.engine.nsga2 import evolve
from edgeprune.prune.search.engine.population import Objectives
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import PruningPlan

_POPULATION = 16


@dataclass
class Bitmask:
    """One bit a channel, F1 and the same number of scores as ``joint``; nothing else of it.

    Latency is known on the grid alone: the prediction is that of the next legal width, what is
    slimmed and measured are the bits themselves.
    """

    problem: Problem

    def __call__(self, limits: Limits) -> Choice:
        """The best bits under the limits; without any, those that come closest."""
        problem, sizes = self.problem, [group.width for group in self.problem.space.groups]
        settings = replace(
            problem.settings,
            population=_POPULATION,
            generations=max(1, problem.effort.evaluations // _POPULATION - 1),
        )
        generator = np.random.default_rng(settings.seed)
        density = np.linspace(0.4, 1.0, _POPULATION)[:, None]
        start = (generator.random((_POPULATION, sum(sizes))) < density).astype(np.int64)
        front = evolve(
            lambda genomes: self._judged(genomes, limits), [2] * sum(sizes), settings, start
        )
        best = front.genomes[int(np.argmin(front.values[:, 0] + 1e6 * front.violation))]
        widths = self._widths(best[None])
        return Choice(self._plan(best).kept, widths[0], problem.costs.ratios(widths)[0])

    def _judged(self, genomes: Genomes, limits: Limits) -> Objectives:
        ratios = self.problem.costs.ratios(self._widths(genomes))
        losses = [self.problem.evaluator.score(self._plan(genome)).loss for genome in genomes]
        return Objectives(np.stack([losses, ratios[:, 0]], 1), limits.excess(ratios))

    def _widths(self, genomes: Genomes) -> Widths:
        counts = np.stack([part.sum(1) for part in self._parts(genomes)], 1)
        smallest = [next(w for w in grid if w) for grid in self.problem.space.grids]
        return self.problem.space.snap(np.where(counts == 0, smallest, counts))

    def _plan(self, genome: Any) -> PruningPlan:
        kept = {
            group.name: tuple(np.flatnonzero(part[0]).tolist()) or (0,)
            for group, part in zip(
                self.problem.space.groups, self._parts(genome[None]), strict=True
            )
        }
        return PruningPlan(model="", kept=kept)

    def _parts(self, genomes: Genomes) -> list[Genomes]:
        ends = np.cumsum([group.width for group in self.problem.space.groups])[:-1]
        return np.split(genomes, ends, 1)
