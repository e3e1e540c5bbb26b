"""Constrained NSGA-II on DEAP: the one engine under every search strategy.

Reference:
    K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, A fast and elitist multiobjective genetic
    algorithm: NSGA-II, IEEE Transactions on Evolutionary Computation 6(2), 2002.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from deap import base, tools
from numpy.typing import NDArray

Genomes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objectives:
    """What a population is worth; everything is minimised.

    Attributes:
        values: Objectives, shape (P, M).
        violation: Sum of normalised constraint violations, shape (P,); 0 is feasible.
    """

    values: Floats
    violation: Floats


Evaluate = Callable[[Genomes], Objectives]
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """Size and operators of one run; ``mutation`` is the chance per gene, default 1/genes."""

    population: int = 64
    generations: int = 40
    crossover: float = 0.9
    mutation: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Front:
    """The last population's non-dominated genomes, best first objective first.

    Attributes:
        genomes: Shape (K, G), no two rows alike.
        values: Objectives, shape (K, M).
        violation: Shape (K,); all 0 as soon as one feasible genome was found.
    """

    genomes: Genomes
    values: Floats
    violation: Floats


class _Fitness(base.Fitness):  # type: ignore[misc]
    """Deb's rules: feasible beats infeasible, then the smaller violation, then dominance.

    DEAP's own ConstrainedFitness cannot be hashed and never tells two infeasible points apart.
    """

    violation = math.inf

    def dominates(self, other: "_Fitness", obj: slice = slice(None)) -> bool:
        if self.violation != other.violation:
            return self.violation < other.violation
        return bool(super().dominates(other, obj))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fitness) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return (self.violation, self.wvalues)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Fitness":
        copied = type(self)()
        copied.wvalues, copied.violation = self.wvalues, self.violation
        return copied


class _Individual(list[int]):
    """A genome with the fitness that DEAP's operators look for."""

    def __init__(self, genes: Sequence[int], fitness: type[_Fitness]) -> None:
        super().__init__(genes)
        self.fitness = fitness()


def evolve(
    evaluate: Evaluate,
    choices: Sequence[int],
    settings: Settings,
    seeds: Genomes | None = None,
    watch: Watch = lambda done, total: None,
) -> Front:
    """Run constrained NSGA-II.

    Args:
        evaluate: Population (P, G) to objectives, one call a generation.
        choices: For each of the G genes, how many values it takes: 0 .. choices-1.
        settings: Population, generations, operators and seed.
        seeds: Genomes to start from, shape (S, G); the rest is random.
        watch: Called with (generations done, generations in all).

    Returns:
        The final front. NaN or infinite objectives count as infinitely infeasible, so they
        survive only where nothing else was ever found.
    """
    with _seeded(settings.seed):
        fitness = _fitness_class(evaluate, choices)
        population = _score(_start(choices, settings, seeds, fitness), evaluate)
        population = tools.selNSGA2(population, settings.population)
        for generation in range(settings.generations):
            children = _score(_offspring(population, choices, settings, fitness), evaluate)
            population = tools.selNSGA2(_distinct(population + children), settings.population)
            watch(generation + 1, settings.generations)
    return _front(population)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """DEAP draws from the global ``random``: seed it here alone and give it back as it was."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _fitness_class(evaluate: Evaluate, choices: Sequence[int]) -> type[_Fitness]:
    objectives = evaluate(np.zeros((1, len(choices)), np.int64)).values.shape[1]
    return type("Fitness", (_Fitness,), {"weights": (-1.0,) * objectives})


def _start(
    choices: Sequence[int], settings: Settings, seeds: Genomes | None, fitness: type[_Fitness]
) -> list[_Individual]:
    given = [] if seeds is None else [_Individual(row, fitness) for row in seeds.tolist()]
    missing = max(0, settings.population - len(given))
    drawn = [[random.randrange(n) for n in choices] for _ in range(missing)]
    return _distinct(given + [_Individual(genes, fitness) for genes in drawn])


def _score(individuals: list[_Individual], evaluate: Evaluate) -> list[_Individual]:
    objectives = evaluate(np.asarray(individuals, np.int64))
    sound = np.isfinite(objectives.values).all(1) & np.isfinite(objectives.violation)
    values = np.where(sound[:, None], objectives.values, np.finfo(np.float64).max)
    violation = np.where(sound, np.maximum(objectives.violation, 0.0), math.inf)
    for individual, row, excess in zip(individuals, values, violation, strict=True):
        individual.fitness.values = tuple(row.tolist())
        individual.fitness.violation = float(excess)
    return individuals


def _offspring(
    parents: list[_Individual],
    choices: Sequence[int],
    settings: Settings,
    fitness: type[_Fitness],
) -> list[_Individual]:
    chance = settings.mutation if settings.mutation is not None else 1.0 / len(choices)
    top = [n - 1 for n in choices]
    children: list[_Individual] = []
    while len(children) < settings.population:
        pair = [_Individual(_tournament(parents), fitness) for _ in range(2)]
        if random.random() < settings.crossover:
            tools.cxUniform(*pair, indpb=0.5)
        for child in pair:
            tools.mutUniformInt(child, low=0, up=top, indpb=chance)
        children += pair
    return children[: settings.population]


def _tournament(parents: list[_Individual]) -> _Individual:
    """Binary tournament; DEAP's selTournamentDCD wants a population divisible by four."""
    left, right = random.choice(parents), random.choice(parents)
    if left.fitness.dominates(right.fitness):
        return left
    if right.fitness.dominates(left.fitness):
        return right
    return left if left.fitness.crowding_dist >= right.fitness.crowding_dist else right


def _distinct(individuals: list[_Individual]) -> list[_Individual]:
    """Without this a small space fills up with copies of one genome."""
    return list({tuple(individual): individual for individual in individuals}.values())


def _front(population: list[_Individual]) -> Front:
    best = tools.sortNondominated(population, len(population), first_front_only=True)[0]
    best.sort(key=lambda individual: (individual.fitness.values, list(individual)))
    return Front(
        genomes=np.asarray(best, np.int64),
        values=np.asarray([individual.fitness.values for individual in best]),
        violation=np.asarray([individual.fitness.violation for individual in best]),
    )
