"""How low may the latency go before the accuracy is lost?"""

from collections.abc import Callable

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


def lowest(keeps: Callable[[float], bool]) -> float | None:
    """Walk down until a network loses too much, then try once halfway back.

    The steps and the halving are ours: each costs a search and a fine-tuning, and what lies
    between two halves is within what fine-tuning again with another seed moves.

    Args:
        keeps: Whether the network at a share of the dense latency keeps the accuracy.

    Returns:
        The lowest share that does; None where not even the first halving found one.
    """
    kept = 1.0
    for share in SHARES:
        if not keeps(share):
            between = round((kept + share) / 2, 3)
            kept = between if keeps(between) else kept
            break
        kept = share
    return kept if kept < 1.0 else None
