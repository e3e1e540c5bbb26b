"""Joint search: NSGA-II over widths, criteria and branches, at three fidelities.

Stages are solved from concrete to abstract, their fronts joined by a knapsack on latency, and
the whole is polished among the best that the rules can do with the same budget. Three
fidelities: F0 adds up the loss that each group was measured to add alone and screens offspring, F1
slims, recalibrates and scores, F2 distils a little. Every rule stays in the running, so the search
ends no worse than the best of them but for the error of F2.

The multi-stage search from concrete to abstract is that of GWCS (L. Chen et al., Frontiers in
Computational Neuroscience 15:760554, 2021) and the fronts of sub-networks that of SMOEA (arXiv
2211.01957, 2022); everything that joins them here is ours.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgeprune.arrays import Floats, Genome, Genomes
from edgeprune.prune.search.engine import knapsack
from edgeprune.prune.search.engine.nsga2 import evolve
from edgeprune.prune.search.engine.population import Objectives, spawned
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
_GREEDY_LOOK, _GREEDY_STEP = 4, 0.05  # moves that F1 compares; share of the violation of each
_ENTRANTS = 8
_OF_GROUP = 2 * sensitivity.MEASURED_LEVELS + 3  # F0 and the greedy rule
_SLACKS = 1.0, 1.05, 1.2  # what just missed a budget is a step away from keeping it


def expected_scores(problem: Problem) -> int:
    """About how many networks ``joint`` scores for its first budget; ``random`` gets as many."""
    effort, space = problem.effort, problem.space
    needed = _OF_GROUP * len(space.groups) + effort.evaluations // 5
    if effort.stage_generations:
        needed += len(space.stages) * _POPULATION * (effort.stage_generations + 1)
    return max(effort.evaluations, needed)


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
        return Archive(
            problem=self.problem, encoding=self.encoding, expected=expected_scores(self.problem)
        )

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """F0: the loss that slimming each group alone adds."""
        return sensitivity.measure(self.encoding, self.archive.losses)

    def __call__(self, limits: Limits) -> Choice:
        """The best network under the limits, or the one that comes closest to them."""
        repair = self._repair(limits)
        rules = self.rules(limits)
        self._polish(repair, self._seeds(repair, rules))
        return self.archive.decided(self._finalists(repair, rules))

    def front(self) -> tuple[Choice, ...]:
        """Networks that none scored so far beats in both predicted latency and F1 loss."""
        return self.archive.front()

    def rules(self, limits: Limits) -> dict[str, Genome]:
        """What every rule makes of the budget, each by the criterion of its name, (2 G,)."""
        space, costs, encoding = self.problem.space, self.problem.costs, self.encoding
        repair = self._repair(limits)
        uniform = one_shot.uniform(space, costs, limits)
        depth = one_shot.depth(space, costs, limits, self.harms)
        found = {
            "uniform": encoding.genomes(uniform[None])[0],
            "depth": encoding.genomes(depth[None])[0],
            "knapsack": self._knapsack(repair),
            "greedy": self._greedy(repair),
        }
        for number, (name, saliencies) in enumerate(self.problem.criteria.items()):
            relative = name not in one_shot.ABSOLUTE
            widths = one_shot.ranked(space, costs, limits, saliencies, relative=relative)
            found[name] = encoding.genomes(widths[None], number)[0]
        return found

    def _repair(self, limits: Limits) -> Repair:
        return Repair(self.encoding, self.problem.costs, limits, self.sensitivity)

    @cached_property
    def harms(self) -> dict[str, float]:
        """Loss added by dropping each residual branch alone."""
        harms: dict[str, float] = {}
        for index, group in enumerate(self.problem.space.groups):
            if group.droppable and group.block is not None:
                added = float(self.sensitivity.added[index, 0].min())
                harms[group.block] = harms.get(group.block, 0.0) + added
        return harms

    def _seeds(self, repair: Repair, rules: dict[str, Genome]) -> Genomes:
        """Rules, joined stage fronts and what earlier budgets found, brought to this budget."""
        given = list(rules.values())
        if self.problem.effort.stage_generations:
            given.append(self._joined(repair))
        found = [self._front(repair.limits.loosened(slack), _ENTRANTS) for slack in _SLACKS]
        return np.concatenate([np.array(given, np.int64), *found])

    def _front(self, limits: Limits, count: int) -> Genomes:
        """What nothing within the limits beats in both F1 loss and MACs, ``count`` of it."""
        ranked = self.archive.ranked(limits)
        # Least loss first: on the front is whatever has more MACs than all before it.
        most = np.maximum.accumulate(self.archive.macs(ranked))
        front = np.flatnonzero(np.diff(most, prepend=-1.0) > 0)
        some = np.linspace(0, len(front) - 1, min(len(front), count)).round().astype(int)
        found: Genomes = ranked[front[some]]
        return found

    def _knapsack(self, repair: Repair) -> Genome:
        """Least summed F0 for the latency that must be saved."""
        encoding = self.encoding
        alone = [self._levels_of(group) for group in range(encoding.groups)]
        losses = [self.sensitivity.losses(part) - self.sensitivity.dense for part in alone]
        return self._fitted(alone, losses, repair)

    def _levels_of(self, group: int) -> Genomes:
        """The dense genome with one group at each of its levels, by its best criterion."""
        levels = np.arange(len(self.problem.space.grids[group]))
        best = self.sensitivity.best_criteria()[group, levels]
        return sensitivity.alone(self.encoding, group, levels, best)

    def _fitted(self, options: list[Genomes], losses: list[Floats], repair: Repair) -> Genome:
        """The knapsack over options that each change other genes of the dense genome."""
        dense, limits = self.encoding.full, repair.limits.vector()
        binding = int(np.argmin(limits))  # savings add up for one cost: the tightest
        ratios = [self.archive.ratios(part)[:, binding] for part in options]

        def solve(need: float) -> Genome:
            chosen = knapsack.pick(losses, [1 - r for r in ratios], need)
            genome = dense.copy()
            for part, option in zip(options, chosen, strict=True):
                changed = part[option] != dense
                genome[changed] = part[option][changed]
            return genome

        def cost(genome: Genome) -> float:
            return float(self.archive.ratios(genome[None])[0, binding])

        found = knapsack.fitted(solve, cost, min(float(limits[binding]), 1.0))
        repaired: Genome = repair(found[None])[0]
        return repaired

    def _greedy(self, repair: Repair) -> Genome:
        """NetAdapt's loop: of the few cheapest moves by F0, the best by F1, until it fits."""
        genome = self.encoding.full
        least = _GREEDY_STEP * float(repair.excess(genome[None])[0])
        while len(moves := repair.cheapest(genome, _GREEDY_LOOK, least)):
            genome = moves[int(self._prices(genome, moves, repair).argmin())]
        repaired: Genome = repair(genome[None])[0]
        return repaired

    def _prices(self, genome: Genome, moves: Genomes, repair: Repair) -> Floats:
        """F1 loss added per violation removed."""
        before = self.archive.losses(genome[None])[0]
        relief = repair.excess(genome[None])[0] - repair.excess(moves)
        harm = np.maximum(self.archive.losses(moves) - before, 1e-4)  # losses have 4 decimals
        price: Floats = harm / np.maximum(relief, 1e-9)
        return price

    @cached_property
    def _stage_fronts(self) -> list[tuple[Genomes, Floats]]:
        """Per stage the front of (F1 loss, latency) with the others at full width, dense first."""
        stages = self.problem.space.stages
        seeds = spawned(self.problem.settings.seed, len(stages))
        pairs = zip(stages, seeds, strict=True)
        return [self._stage_front(groups, seed) for groups, seed in pairs]

    def _stage_front(self, groups: tuple[int, ...], seed: int) -> tuple[Genomes, Floats]:
        encoding = self.encoding
        members = [*groups, *(encoding.groups + i for i in groups)]  # levels, then criteria
        choices = [encoding.choices[gene] for gene in members]

        def whole(part: Genomes) -> Genomes:
            genomes = np.repeat(encoding.full[None], len(part), 0)
            genomes[:, members] = part  # (P, genes of the stage) into (P, 2 G)
            return encoding.canonical(genomes)

        def judged(losses: Floats, part: Genomes) -> Objectives:
            latency = self.archive.ratios(whole(part))[:, 0]
            return Objectives(np.stack([losses, latency], 1), np.zeros(len(part)))

        front = evolve(
            lambda part: judged(self.archive.losses(whole(part)), part),
            choices,
            replace(
                self.problem.settings,
                population=_POPULATION,
                generations=self.problem.effort.stage_generations,
                seed=seed,
            ),
            encoding.full[None][:, members],
            repair=lambda part: whole(part)[:, members],
            screen=lambda part: judged(self.sensitivity.losses(whole(part)), part),
        )
        genomes = np.concatenate([encoding.full[None], whole(front.genomes)])
        return genomes, self.archive.losses(genomes) - self.sensitivity.dense

    def _joined(self, repair: Repair) -> Genome:
        """The stage fronts joined by a knapsack."""
        options = [genomes for genomes, _ in self._stage_fronts]
        losses = [np.maximum(added, 0.0) for _, added in self._stage_fronts]
        return self._fitted(options, losses, repair)

    def _polish(self, repair: Repair, seeds: Genomes) -> None:
        """NSGA-II on the whole genome under the limits: little F1 loss, but many MACs.

        F1 sees how much a network has lost, not how much of it can come back: of two that are
        as fast, the one that computes more can learn more. F2 is to decide between the kinds.
        """
        generations = max(1, self.archive.begin(repair.limits) // _POPULATION)
        settings = replace(self.problem.settings, population=_POPULATION, generations=generations)

        def judged(losses: Floats, genomes: Genomes) -> Objectives:
            values = np.stack([losses, -self.archive.macs(genomes)], 1)
            return Objectives(values, repair.excess(genomes))

        evolve(
            lambda genomes: judged(self.archive.losses(genomes), genomes),
            self.encoding.choices,
            settings,
            seeds,
            repair=repair,
            screen=lambda genomes: judged(self.sensitivity.losses(genomes), genomes),
        )

    def _finalists(self, repair: Repair, rules: dict[str, Genome]) -> Genomes:
        """The two best rules, the best networks of different size, and the next best."""
        archive, wanted = self.archive, self.problem.effort.finalists
        entitled = wanted // 4  # so that the search ends no worse than the best rules
        raw = self.encoding.canonical(np.array(list(rules.values()), np.int64))
        archive.losses(seeds := np.unique(np.concatenate([raw, repair(raw)]), axis=0))
        best_rules = archive.ranked(repair.limits, seeds)[:entitled]
        entrants = self._front(repair.limits, max(1, wanted - entitled))
        ranked = archive.ranked(repair.limits)[:wanted]
        in_turn = np.concatenate([best_rules, entrants, ranked])
        firsts = np.sort(np.unique(in_turn, axis=0, return_index=True)[1])[:wanted]
        return in_turn[firsts]
