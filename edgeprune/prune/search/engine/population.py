"""Populations of NSGA-II: settings, objectives, fronts, seeds of its stages."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeprune.arrays import Floats, Genomes

_DECIMALS = 4  # behind them lies the noise of float32 and of the order of sums


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
Repair = Callable[[Genomes], Genomes]
Room = Callable[[], float]


def unlimited() -> float:
    """Room for any number of evaluations."""
    return math.inf


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Size and operators of one run.

    Attributes:
        population: Number of genomes that survive a generation.
        generations: Number of generations after the start.
        crossover: Chance per pair of parents that they exchange genes.
        mutation: Chance per gene that it takes another value; 1/genes without it.
        seed: Seed of every draw.
        brood: Offspring bred for each one that is evaluated, where a screen picks among them.
    """

    population: int = 64
    generations: int = 40
    crossover: float = 0.9
    mutation: float | None = None
    seed: int = 0
    brood: int = 8


@dataclass(frozen=True)
class Front:
    """The last population's non-dominated genomes, best first objective first.

    Attributes:
        genomes: Shape (K, G), no two rows alike.
        values: Objectives to 4 decimals, shape (K, M).
        violation: Shape (K,); all 0 as soon as one feasible genome was found.
    """

    genomes: Genomes
    values: Floats
    violation: Floats


def spawned(seed: int, count: int) -> list[int]:
    """Independent seeds for the ``count`` parts of a search.

    ``seed + part`` would let part 1 of seed 0 draw what part 0 of seed 1 draws.
    """
    children = np.random.SeedSequence(seed).spawn(count)
    return [int(child.generate_state(1, np.uint64)[0]) for child in children]


def spread(genomes: Genomes, count: int) -> Genomes:
    """At most ``count`` of a front (P, G), evenly spread over it, its ends among them."""
    places = np.linspace(0, len(genomes) - 1, min(len(genomes), count)).round().astype(int)
    found: Genomes = genomes[places]
    return found


def comparable(objectives: Objectives) -> Objectives:
    """Numbers that compare alike whatever noise their last bits hold.

    Values to 4 decimals; violations too, but never 0 where one was above it. A genome with NaN or
    infinity anywhere gets the largest values there are and an infinite violation.
    """
    sound = np.isfinite(objectives.values).all(1) & np.isfinite(objectives.violation)
    values = np.where(sound[:, None], _rounded(objectives.values), np.finfo(np.float64).max)
    excess = np.maximum(_rounded(objectives.violation), 10.0**-_DECIMALS)
    violation = np.where(sound, np.where(objectives.violation > 0, excess, 0.0), math.inf)
    return Objectives(values, violation)


def _rounded(numbers: Floats) -> Floats:
    """To 4 decimals; numbers too large to have any stay as they are."""
    small = np.abs(numbers) < 1e11
    return np.where(small, np.round(np.where(small, numbers, 0.0), _DECIMALS), numbers)
