"""Registry of the search strategies by name."""

from collections.abc import Callable
from functools import partial

from edgeprune.errors import InputError
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import gwcs, smoea
from edgeprune.prune.search.strategies.controls import Depth, Random, Ranked, Uniform
from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.search.strategies.replay import Replaying, Searcher
from edgeprune.text import did_you_mean

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
NAMES = tuple(_KNOWN)
DEFAULT = "joint"
UNBOUND = ("gwcs", "smoea")  # without a budget the ratio is an outcome of theirs


def refuse_unknown(name: str) -> None:
    """Refuse an unknown strategy before anything is made ready for it.

    Raises:
        InputError: not one of :data:`NAMES`; the nearest is named.
    """
    if name not in _KNOWN:
        hint = did_you_mean(name, NAMES, otherwise=f"; known: {', '.join(NAMES)}")
        raise InputError(f"unknown strategy {name!r}{hint}")


def searcher(name: str, problem: Problem) -> Searcher:
    """A search by one of :data:`NAMES`; it may keep what it found out between two limits.

    Returns:
        From limits to the best choice that keeps them. Where nothing does, the choice that
        comes closest; the caller compares its ratios with the limits.

    Raises:
        InputError: no such strategy.
    """
    refuse_unknown(name)
    search = _KNOWN[name](problem)
    return search if problem.folder is None else Replaying(search, problem.folder / "asked.json")
