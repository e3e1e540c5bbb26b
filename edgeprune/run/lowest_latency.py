"""Finds the lowest latency ratio that keeps the accuracy, by falling steps and one bisection."""

from collections.abc import Callable
from typing import Any

from edgeprune.errors import PromiseError
from edgeprune.prune.space.budget import Limits
from edgeprune.run.folder import member_name
from edgeprune.run.measured_search import Candidate, UnreachedError
from edgeprune.run.outcome import PrunedModel
from edgeprune.run.pruner import Pruner

RATIOS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


def lowest(keeps: Callable[[float], bool], start: float = 1.0) -> float | None:
    """Lower the ratio until a network loses too much, then try once halfway back.

    The steps and the halving are ours: each costs a search and a fine-tuning, and what lies
    between two halves is within what fine-tuning again with another seed moves.

    Args:
        keeps: Whether the accuracy is kept at a ratio to the dense latency.
        start: The dense model's own ratio; less than 1 where int8 alone gains.

    Returns:
        The lowest ratio to the dense latency that ``keeps`` the accuracy; None where not even
        the first halving found one.
    """
    kept = start
    for share in RATIOS:
        ratio = round(share * start, 3)
        if not keeps(ratio):
            between = round((kept + ratio) / 2, 3)
            kept = between if keeps(between) else kept
            break
        kept = ratio
    return kept if kept < start else None


def fastest_that_keeps_accuracy(pruner: Pruner) -> PrunedModel:
    """The fastest model whose validation accuracy keeps the drop that was allowed.

    Raises:
        PromiseError: not even the first steps keep it; the best that can be had is named.
    """
    context = pruner.context
    allowed = context.request.allowed_loss or 0.0
    models: dict[float, PrunedModel] = {}
    steps: list[dict[str, Any]] = []

    longest = 0.0

    def keeps(ratio: float) -> bool:
        nonlocal longest
        began = context.time.spent
        if context.time.left < longest:
            steps.append({"latency": ratio, "kept": False, "reason": "no time is left for it"})
            context.folder.record(walk=steps)
            return False
        try:
            model = pruner.prune(Limits(latency=ratio), member_name(ratio))
        except UnreachedError as error:
            steps.append({"latency": ratio, "kept": False, "reason": str(error)})
        else:
            models[ratio] = model
            measured = model.chosen.measured
            step = {"latency": ratio, "measured": measured.mid if measured else None}
            steps.append(
                step
                | {"lost_points": model.recovered.lost, "kept": model.recovered.lost <= allowed}
            )
        longest = max(longest, context.time.spent - began)
        context.folder.record(walk=steps)
        return bool(steps[-1]["kept"])

    found = lowest(keeps, context.problem.costs.dense_latency)
    if found is not None:
        return models[found]
    if not models:
        raise PromiseError(steps[0]["reason"])
    best = min(models.values(), key=lambda model: model.recovered.lost)
    doubt = ""
    if context.origin.seen_validation:
        doubt = "; the dense model may have seen these images, which overstates it"
    figure = context.task.figure
    raise PromiseError(
        f"no network keeps {figure.budget} = {allowed:g}: the best that can be had "
        f"{figure.lost.format(best.recovered.lost)} on the validation images at "
        f"{_latency(best.chosen)}{doubt}; raise it or --epochs"
    )


def _latency(chosen: Candidate) -> str:
    if chosen.measured is None:
        return f"{chosen.choice.ratios[0]:.3f}x of the dense latency (predicted)"
    return f"{chosen.measured.mid:.3f}x of the dense latency (measured)"
