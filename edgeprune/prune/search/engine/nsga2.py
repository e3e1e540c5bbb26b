"""Constrained NSGA-II on DEAP: the one engine under every search strategy.

Reference:
    K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, A fast and elitist multiobjective genetic
    algorithm: NSGA-II, IEEE Transactions on Evolutionary Computation 6(2), 2002.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
from deap import base, tools
from deap.tools import crossover

from edgeprune.arrays import Genomes
from edgeprune.progress import Progress, silent
from edgeprune.prune.search.engine.dominance import fronts
from edgeprune.prune.search.engine.population import (
    Evaluate,
    Front,
    Objectives,
    Repair,
    Room,
    Settings,
    comparable,
    unlimited,
)


class _Fitness(base.Fitness):  # type: ignore[misc]
    """Deb's rules: feasible beats infeasible, then the smaller violation, then dominance.

    DEAP's own ConstrainedFitness takes all infeasible points for equal.
    """

    violation = math.inf

    def dominates(self, other: "_Fitness", obj: slice = slice(None)) -> bool:
        if self.violation != other.violation:
            return self.violation < other.violation
        return bool(super().dominates(other, obj))


class _Individual(list[int]):
    """A genome with the fitness that DEAP's operators look for."""

    def __init__(self, genes: Sequence[int], fitness: type[_Fitness]) -> None:
        super().__init__(genes)
        self.fitness = fitness()


def evolve(  # noqa: PLR0913  one engine, and what each strategy adds to it by name
    evaluate: Evaluate,
    choices: Sequence[int],
    settings: Settings,
    seeds: Genomes | None = None,
    progress: Progress = silent,
    *,
    repair: Repair | None = None,
    screen: Evaluate | None = None,
    room: Room = unlimited,
) -> Front:
    """Run constrained NSGA-II.

    Objectives are rounded to 4 decimals before anything is compared, so noise in the last bits
    decides nothing; a violation above 0 stays above 0. NaN or infinite objectives count as
    infinitely infeasible, so they survive only where nothing else was ever found.

    Args:
        evaluate: Population (P, G) to objectives, at most one call a generation.
        choices: For each of the G genes, how many values it takes: 0 .. choices-1.
        settings: Population, generations, operators and seed.
        seeds: Genomes to start from, shape (S, G); the rest is random.
        progress: Called after every generation.
        repair: Brings genomes (P, G) to their canonical, feasible form, row by row, before
            they are looked at in any way.
        screen: A cheap ``evaluate``, its objectives need not be as many. With it,
            ``settings.brood`` times as many offspring are bred and the best of those that were
            never evaluated, by NSGA-II on the screen alone, are evaluated in full.
        room: How many more genomes may be evaluated, asked before each batch, which is cut to
            it; the evolution ends where there is none. Without any from the beginning the start
            alone is evaluated, as something has to be chosen.

    Returns:
        The final front; the same for the same arguments.
    """
    genes = tuple(choices)
    with _seeded(settings.seed) as generator:
        run = _Run(
            evaluate=evaluate,
            choices=genes,
            settings=settings,
            generator=generator,
            repair=repair,
            screen=screen,
            room=room,
        )
        population = run.start(seeds)
        for done in range(1, settings.generations + 1):
            if room() < 1:
                break
            population = run.generation(population)
            progress("evolving", done, settings.generations)
    return _front(population)


@contextmanager
def _seeded(seed: int) -> Iterator[Random]:
    """A generator that DEAP's crossover draws from too, in place of the global ``random``.

    From that one other threads may draw meanwhile, such as those that exchange messages.
    """
    usual, generator = crossover.random, Random(seed)
    crossover.random = generator
    try:
        yield generator
    finally:
        crossover.random = usual


@dataclass(kw_only=True)
class _Run:
    """What stays the same over the generations, and the genomes that were evaluated."""

    evaluate: Evaluate
    choices: tuple[int, ...]
    settings: Settings
    generator: Random
    repair: Repair | None
    screen: Evaluate | None
    room: Room
    tried: set[tuple[int, ...]] = field(default_factory=set)

    def start(self, seeds: Genomes | None) -> list[_Individual]:
        given: list[list[int]] = [] if seeds is None else seeds.tolist()
        missing = max(0, self.settings.population - len(given))
        drawn = [[self.generator.randrange(n) for n in self.choices] for _ in range(missing)]
        genomes = self._repaired(given + drawn)
        return self._survivors(self._scored(genomes[: self._most(genomes) or None]))

    def generation(self, parents: list[_Individual]) -> list[_Individual]:
        brood = self.settings.brood if self.screen else 1
        count = self.settings.population * brood
        known = self.tried if self.screen else {tuple(parent) for parent in parents}
        bred = self._repaired(self._offspring(parents, count))
        fresh = [genes for genes in bred if genes not in known]
        chosen = self._screened(fresh)
        return self._survivors(parents + self._scored(chosen[: self._most(chosen)]))

    def _offspring(self, parents: list[_Individual], count: int) -> list[list[int]]:
        settings, random = self.settings, self.generator
        chance = 1.0 / len(self.choices) if settings.mutation is None else settings.mutation
        children: list[list[int]] = []
        while len(children) < count:
            pair = [list(_tournament(parents, random)) for _ in range(2)]
            if random.random() < settings.crossover:
                tools.cxUniform(*pair, indpb=0.5)
            children += [mutated(child, self.choices, chance, random) for child in pair]
        return children[:count]

    def _most(self, genomes: Sequence[object]) -> int:
        """How many of them may be evaluated."""
        return int(min(len(genomes), max(0, self.room())))

    def _survivors(self, individuals: list[_Individual]) -> list[_Individual]:
        """NSGA-II's survivors; DEAP's selNSGA2 compares pairs in Python, seconds for a brood."""
        chosen: list[_Individual] = []
        count = self.settings.population
        for indices in fronts(_worth(individuals), count):
            front = [individuals[i] for i in indices]
            tools.emo.assignCrowdingDist(front)
            if len(chosen) + len(front) > count:
                front.sort(key=lambda individual: individual.fitness.crowding_dist, reverse=True)
            chosen += front
        return chosen[:count]

    def _repaired(self, genomes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        """Each once: else a small space fills up with copies of one genome."""
        array = np.asarray(genomes, np.int64)
        rows = array if self.repair is None else self.repair(array)
        return list(dict.fromkeys(map(tuple, rows.tolist())))

    def _screened(self, genomes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        if self.screen is None or len(genomes) <= self.settings.population:
            return genomes
        judged = _individuals(genomes, self.screen(np.asarray(genomes, np.int64)))
        return [tuple(individual) for individual in self._survivors(judged)]

    def _scored(self, genomes: list[tuple[int, ...]]) -> list[_Individual]:
        if not genomes:
            return []
        if self.screen:
            self.tried.update(genomes)
        return _individuals(genomes, self.evaluate(np.asarray(genomes, np.int64)))


@cache
def _fitness_class(objectives: int) -> type[_Fitness]:
    return type("Fitness", (_Fitness,), {"weights": (-1.0,) * objectives})


def _individuals(genomes: Iterable[Sequence[int]], objectives: Objectives) -> list[_Individual]:
    plain = comparable(objectives)
    fitness = _fitness_class(plain.values.shape[1])
    individuals = []
    rows = zip(genomes, plain.values.tolist(), plain.violation.tolist(), strict=True)
    for genes, values, violation in rows:
        individual = _Individual(genes, fitness)
        individual.fitness.values = tuple(values)
        individual.fitness.violation = violation
        individuals.append(individual)
    return individuals


def _worth(individuals: list[_Individual]) -> Objectives:
    fits = [individual.fitness for individual in individuals]
    return Objectives(
        np.array([fit.values for fit in fits]), np.array([fit.violation for fit in fits])
    )


def mutated(
    genes: Sequence[int], choices: Sequence[int], chance: float, random: Random
) -> list[int]:
    """A genome in which each gene takes one of its other values with probability ``chance``.

    DEAP's mutUniformInt redraws a gene among all values: of two, half the draws change nothing.

    ``choices`` says how many values each gene takes; one of a single value stays.
    """
    changed = list(genes)
    for place, count in enumerate(choices):
        if count > 1 and random.random() < chance:
            changed[place] = (changed[place] + random.randrange(1, count)) % count
    return changed


def _tournament(parents: list[_Individual], random: Random) -> _Individual:
    """Binary tournament; DEAP's selTournamentDCD wants a population divisible by four."""
    left, right = random.choice(parents), random.choice(parents)
    if left.fitness.dominates(right.fitness):
        return left
    if right.fitness.dominates(left.fitness):
        return right
    return left if left.fitness.crowding_dist >= right.fitness.crowding_dist else right


def _front(population: list[_Individual]) -> Front:
    best = [population[i] for i in fronts(_worth(population), 1)[0]]
    best.sort(key=lambda individual: (individual.fitness.values, list(individual)))
    worth = _worth(best)
    return Front(np.asarray(best, np.int64), worth.values, worth.violation)
