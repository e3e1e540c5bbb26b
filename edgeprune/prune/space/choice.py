"""The choice of a strategy: kept channels, their widths and predicted costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeprune.arrays import Floats, Widths
from edgeprune.prune.space.plan import PruningPlan


@dataclass(frozen=True)
class Choice:
    """What a strategy decided.

    Attributes:
        kept: Kept channel indices per group name.
        widths: Their counts, shape (G,).
        ratios: Predicted latency, MACs and params over dense, shape (3,).
        scores: What the strategy judged by, by name; only for the record.
        others: What was judged as dearly and is nearly as good, the best first.
    """

    kept: Mapping[str, tuple[int, ...]]
    widths: Widths
    ratios: Floats
    scores: Mapping[str, float] = field(default_factory=dict)
    others: tuple["Choice", ...] = ()

    def plan(self, model: str) -> PruningPlan:
        """The choice as a plan for the network called ``model``."""
        return PruningPlan(model=model, kept=self.kept)
