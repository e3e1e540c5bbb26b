"""What the scores of a search may cost: how many networks, on how many images, for how long."""

from dataclasses import dataclass, field

from edgeprune.prune.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What the evaluator's scores may cost.

    Attributes:
        evaluations: Networks that are slimmed, folded, recalibrated and scored (F1) for the first
            limits; others have a quarter of it, limits that are only tightened a tenth.
        calibration: Training images that BatchNorm is recalibrated on for each.
        judged: Validation images that each is scored on.
        refitted: Best networks that are refitted in closed form and scored anew; none lets F1
            choose those that are distilled.
        refit_images: Training images that a refit solves on.
        finalists: Networks that are distilled (F2) before one is chosen; 1 lets the scores
            before decide.
        rungs: Steps that those left are distilled for, and how many of them are left then; none
            lets the scores before decide.
        examined: Validation images that a distilled network is scored on.
        recipe: How to distil; the steps of a rung take the place of its length.
    """

    evaluations: int = 176
    calibration: int = 256
    judged: int = 768
    refitted: int = 16
    refit_images: int = 256
    finalists: int = 4
    rungs: tuple[tuple[int, int], ...] = (50, 2), (150, 1)
    examined: int = 5000
    recipe: Recipe = field(default_factory=Recipe)


FEW_IMAGES = Effort(
    evaluations=64, refitted=6, refit_images=128, finalists=3, rungs=((20, 2), (60, 1))
)
"""For a few hundred images: more evaluations would fit the search to them."""
