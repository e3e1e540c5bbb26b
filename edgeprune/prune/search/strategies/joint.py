"""Joint search: NSGA-II over widths, branches and criteria, at four fidelities.

F0, the damage that the curvature predicts, is free: a first search runs on it alone, and it
screens offspring and repairs to the limits. F1 slims, folds, recalibrates and scores; the search
on it starts from the front of the first and from what every pruning rule makes of the budget.
The best are refitted in closed form, the best of those distilled a little (F2). Every rule stays
in the running, so the search ends no worse than the best of them but for the error of F2.

The search from cheap to dear scores is ours; its parts are named in their own files. Branches
and widths compete under one damage (saliency/surgeon.py).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgeprune.arrays import Floats, Genome, Genomes
from edgeprune.prune.search.engine.nsga2 import evolve
from edgeprune.prune.search.engine.population import Objectives, spread
from edgeprune.prune.search.evaluation import sensitivity
from edgeprune.prune.search.evaluation.archive import Archive
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.repair import Repair
from edgeprune.prune.search.evaluation.sensitivity import Sensitivity
from edgeprune.prune.search.strategies import one_shot
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice

_POPULATION = 16
_FREE = 64, 40  # population and generations of the search on F0
_ENTRANTS = 8
_SPARE = 4  # times the generations that a search takes where every one is full
_SLACKS = 1.0, 1.05, 1.2  # what just missed a budget is a step away from keeping it


@dataclass
class Joint:
    """A joint search; what it finds out for one budget serves the next."""

    problem: Problem

    @cached_property
    def encoding(self) -> Encoding:
        """What genomes mean."""
        return Encoding(self.problem.space, tuple(self.problem.criteria.values()))

    @cached_property
    def archive(self) -> Archive:
        """Every network scored so far."""
        return Archive(problem=self.problem, encoding=self.encoding)

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """F0: the damage that slimming each group alone does."""
        return sensitivity.measure(self.problem, self.encoding)

    def __call__(self, limits: Limits) -> Choice:
        """The best network under the limits, or the one that comes closest to them."""
        self.archive.adopt(limits)
        self.archive.begin(limits)
        repair = Repair(self.encoding, self.problem.costs, limits, self.sensitivity)
        rules = self.rules(limits)
        for name, genome in rules.items():
            self.problem.evaluator.credit(self.encoding.plan(genome), name)
        ruled = self._ruled(repair, rules)
        self.archive.losses(ruled)  # whatever else there is room for: the floor of the search
        free = self._free(repair)
        self._polish(repair, self._seeds(repair, rules, free))
        return self.archive.decided(self._candidates(repair, ruled, free))

    def front(self) -> tuple[Choice, ...]:
        """As :meth:`Archive.front`."""
        return self.archive.front()

    def rules(self, limits: Limits) -> dict[str, Genome]:
        """What every rule makes of the budget, each by the criterion of its name, (2 G,)."""
        space, costs, encoding = self.problem.space, self.problem.costs, self.encoding
        uniform = one_shot.uniform(space, costs, limits)
        depth = one_shot.depth(space, costs, limits, dict(self.problem.drops))
        found = {
            "uniform": encoding.genomes(uniform[None])[0],
            "depth": encoding.genomes(depth[None])[0],
        }
        for number, (name, saliencies) in enumerate(self.problem.criteria.items()):
            relative = name not in one_shot.ABSOLUTE
            widths = one_shot.ranked(space, costs, limits, saliencies, relative=relative)
            found[name] = encoding.genomes(widths[None], number)[0]
        return found

    def _seeds(self, repair: Repair, rules: dict[str, Genome], free: Genomes) -> Genomes:
        """Rules, the front of F0 and what earlier budgets found, brought to this budget."""
        found = [self._front(repair.limits.loosened(slack), _ENTRANTS) for slack in _SLACKS]
        return np.concatenate([np.array(list(rules.values()), np.int64), free, *found])

    def _front(self, limits: Limits, count: int) -> Genomes:
        """What nothing within the limits beats in both F1 loss and MACs, ``count`` of it."""
        if not self.archive.scores:
            return self.archive.genomes
        ranked = self.archive.ranked(limits)
        # Least loss first: on the front is whatever has more MACs than all before it.
        most = np.maximum.accumulate(self.archive.macs(ranked))
        front = np.flatnonzero(np.diff(most, prepend=-1.0) > 0)
        return spread(ranked[front], count)

    def _free(self, repair: Repair) -> Genomes:
        """Networks on the front of F0 and MACs under the limits; none is scored."""
        population, generations = _FREE
        settings = replace(
            self.problem.settings, population=population, generations=generations, brood=1
        )
        front = evolve(
            lambda genomes: self._judged(self.sensitivity.losses(genomes), genomes, repair),
            self.encoding.choices,
            settings,
            repair(self.encoding.full[None]),
            repair=repair,
        )
        return spread(front.genomes, _ENTRANTS)

    def _within(self, limits: Limits, genomes: Genomes) -> Genomes:
        """Those that were scored and keep the limits."""
        canonical = self.encoding.canonical(genomes)
        known = [tuple(genome.tolist()) in self.archive.scores for genome in canonical]
        scored = np.array(known, bool)  # (P,), also of none
        kept: Genomes = canonical[scored & (self.archive.excess(canonical, limits) == 0)]
        return kept

    def _polish(self, repair: Repair, seeds: Genomes) -> None:
        """NSGA-II on the whole genome under the limits by F1, screened by F0."""
        if not self.archive.room:
            return
        # The room ends the search; the generations only where a small space has no more to give.
        generations = 1 + _SPARE * self.archive.allowed // _POPULATION
        settings = replace(self.problem.settings, population=_POPULATION, generations=generations)
        evolve(
            lambda genomes: self._judged(self.archive.losses(genomes), genomes, repair),
            self.encoding.choices,
            settings,
            seeds,
            repair=repair,
            screen=lambda genomes: self._judged(self.sensitivity.losses(genomes), genomes, repair),
            room=lambda: self.archive.room,
        )

    def _judged(self, losses: Floats, genomes: Genomes, repair: Repair) -> Objectives:
        """Little loss, but many MACs.

        A score sees how much a network has lost, not how much of it can come back: of two that
        are as fast, the one that computes more can learn more. F2 is to decide between the kinds.
        """
        values = np.stack([losses, -self.archive.macs(genomes)], 1)
        return Objectives(values, repair.excess(genomes))

    def _ruled(self, repair: Repair, rules: dict[str, Genome]) -> Genomes:
        """What the rules make of the budget, as it is and repaired, (R, 2 G)."""
        raw = self.encoding.canonical(np.array(list(rules.values()), np.int64))
        found: Genomes = np.unique(np.concatenate([raw, repair(raw)]), axis=0)
        return found

    def _candidates(self, repair: Repair, ruled: Genomes, free: Genomes) -> Genomes:
        """The two best rules, some of F0's front, the best of different size, the next best by F1.

        F0 has its own, since F1 ranks poorly where little is left of the accuracy.
        """
        archive, wanted = self.archive, self.problem.effort.refitted or 1
        ranked = archive.ranked(repair.limits)
        in_turn = [ranked[:1]]
        if wanted > 1:
            in_turn += [
                archive.ranked(repair.limits, ruled)[:2],
                self._within(repair.limits, spread(free, wanted // 4)),
                self._front(repair.limits, wanted // 2),
                ranked[:wanted],
            ]
        together = np.concatenate(in_turn)
        firsts = np.sort(np.unique(together, axis=0, return_index=True)[1])[:wanted]
        return together[firsts]
