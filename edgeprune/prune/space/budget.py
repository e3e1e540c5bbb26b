"""Limits as shares of the dense model, and the predicted costs that they hold for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from edgeprune.arrays import Floats, Ints, Widths
from edgeprune.prune.space.widths import PruningSpace

Predict = Callable[[Widths], Floats | Ints]


@dataclass(frozen=True)
class Limits:
    """Budgets as shares of the dense model, all predicted; ``None`` is no budget."""

    latency: float | None = None
    macs: float | None = None
    params: float | None = None

    def vector(self) -> Floats:
        """The limits in the order latency, MACs, params; infinity where there is none."""
        given = [getattr(self, each.name) for each in fields(self)]
        return np.array([np.inf if limit is None else limit for limit in given])

    def excess(self, ratios: Floats) -> Floats:
        """Summed relative violation by cost shares (P, 3), 0 where all limits hold, shape (P,)."""
        total: Floats = over(ratios, self.vector()).sum(1)
        return total

    def loosened(self, factor: float) -> "Limits":
        """All limits times a factor."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return Limits(**{k: v if v is None else factor * v for k, v in given.items()})

    def bind(self) -> bool:
        """Whether any budget is set."""
        return bool(np.isfinite(self.vector()).any())


def over(ratios: Floats, limits: Floats) -> Floats:
    """Relative violation of each limit, 0 where it holds, shape (P, 3)."""
    return np.maximum(ratios / limits - 1.0, 0.0)


@dataclass(frozen=True)
class Costs:
    """Predicted latency, MACs and params of a population of widths, relative to dense.

    Attributes:
        dense: Widths of the dense model, shape (G,).
        predictors: Latency, MACs and params of widths (P, G), each (P,).
        dense_latency: Latency of the dense model in the number format that is searched, over
            that of the dense model which limits refer to; 1 where both are the same.
    """

    dense: Widths
    predictors: tuple[Predict, Predict, Predict]
    dense_latency: float = 1.0

    def ratios(self, widths: Widths) -> Floats:
        """Latency, MACs and params over those of the dense model, (P, 3), at widths (P, G)."""
        both = np.concatenate([self.dense[None], widths])  # (1 + P, G), one call for all
        columns = [np.asarray(predict(both), np.float64) for predict in self.predictors]
        shares = np.stack([column[1:] / column[0] for column in columns], 1)
        shares[:, 0] *= self.dense_latency
        return shares


def narrowed(space: PruningSpace, widths: Widths, members: Sequence[int]) -> Widths:
    """``widths`` (P, G) with these groups at their smallest legal width, settled."""
    narrow = widths.copy()
    narrow[:, list(members)] = [space.grids[member][0] for member in members]
    return space.settle(narrow)
