"""How low may the latency go before the accuracy is lost?"""

from collections.abc import Callable
from typing import Any

from edgeprune.errors import PromiseError
from edgeprune.prune.space.budget import Limits
from edgeprune.run import lowest_latency
from edgeprune.run.folder import name
from edgeprune.run.measured_search import UnreachedError
from edgeprune.run.outcome import Made
from edgeprune.run.pruner import Workshop

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


def descend(shop: Workshop) -> Made:
    """The fastest model whose validation accuracy keeps the drop, by walking down to it.

    Raises:
        PromiseError: not even the first steps keep it; the best that can be had is named.
    """
    allowed = shop.scene.request.budget.accuracy_drop or 0.0
    made: dict[float, Made] = {}
    steps: list[dict[str, Any]] = []

    def keeps(share: float) -> bool:
        try:
            made[share] = shop.make(Limits(latency=share), name(share))
        except UnreachedError as error:
            steps.append({"latency": share, "kept": False, "reason": str(error)})
        else:
            lost, ratio = made[share].lost, made[share].chosen.measured.mid
            told = {"latency": share, "measured": ratio, "lost_points": lost}
            steps.append(told | {"kept": lost <= allowed})
        shop.folder.record(walk=steps)
        return bool(steps[-1]["kept"])

    found = lowest_latency.lowest(keeps)
    if found is not None:
        return made[found]
    if not made:
        raise PromiseError(steps[0]["reason"])
    best = min(made.values(), key=lambda each: each.lost)
    raise PromiseError(
        f"no network loses at most {allowed:g} points: the best that can be had loses "
        f"{best.lost:.2f} on the validation images at {best.chosen.measured.mid:.3f}x of the "
        f"dense latency (measured){_doubt(shop)}; raise --max-accuracy-drop or --epochs"
    )


def _doubt(shop: Workshop) -> str:
    seen = shop.scene.origin.seen_validation
    return "; the dense model may have seen these images, which overstates it" if seen else ""
