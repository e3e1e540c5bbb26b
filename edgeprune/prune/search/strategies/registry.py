"""Registry of the search strategies by name."""

from collections.abc import Callable
from functools import partial

from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import gwcs, smoea
from edgeprune.prune.search.strategies.controls import Depth, Random, Ranked, Uniform
from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.search.strategies.names import refuse_unknown
from edgeprune.prune.search.strategies.replay import Replaying, Searcher

_KNOWN: dict[str, Callable[[Problem], Searcher]] = {
    "joint": Joint,
    "gwcs": lambda problem: partial(gwcs.search, problem),
    "smoea": lambda problem: partial(smoea.search, problem),
    "random": Random,
    "uniform": Uniform,
    "l1": partial(Ranked, criterion="l1"),
    "bn": partial(Ranked, criterion="bn"),
    "taylor": partial(Ranked, criterion="taylor"),
    "depth": Depth,
}


def searcher(name: str, problem: Problem) -> Searcher:
    """A search by one of :data:`names.NAMES`; it may keep what it found out between two limits.

    Returns:
        From limits to the best choice that keeps them. Where nothing does, the choice that
        comes closest; the caller compares its ratios with the limits.

    Raises:
        InputError: no such strategy.
    """
    refuse_unknown(name)
    search = _KNOWN[name](problem)
    return search if problem.folder is None else Replaying(search, problem.folder / "asked.json")
