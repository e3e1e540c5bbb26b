"""The names of the search strategies, and what each scores at least; without torch."""

from edgeprune.errors import InputError
from edgeprune.text import did_you_mean

NAMES = ("joint", "gwcs", "smoea", "random", "uniform", "l1", "bn", "taylor", "depth")
DEFAULT = "joint"
LEAST = {"joint": 6, "gwcs": 1, "random": 1}
"""Networks that a strategy scores whatever is asked for; the others choose without scores.

``joint`` scores what the pruning rules make of the budget (uniform, depth, the wavelet order),
each as it is and repaired; where two are the same network it is scored once.
"""
UNBOUND = ("gwcs", "smoea")  # without a budget the ratio is an outcome of theirs


def refuse_unknown(name: str) -> None:
    """Refuse an unknown strategy before anything is made ready for it.

    Raises:
        InputError: not one of :data:`NAMES`; the nearest is named.
    """
    if name not in NAMES:
        hint = did_you_mean(name, NAMES, otherwise=f"; known: {', '.join(NAMES)}")
        raise InputError(f"unknown strategy {name!r}{hint}")
