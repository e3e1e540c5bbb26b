"""Gaussian-process regression of a block's latency over the widths of its channel groups.

The time of a fused block is a sum of pieces, each of which depends on the two widths that one of
its convolutions joins. So it is learnt as such a sum: constant, one curve a group, one surface a
pair of groups that an operator joins. Each curve is a straight line, plus a polygon through the
timed widths, plus a jump of its own for every width (a kernel may do one width badly).

This is Gaussian-process regression with an additive kernel. The hyperparameters are shares of a
block's time: 0.1 for the bends, 0.003 for the jumps, 0.005 for the noise.

Reference:
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press 2006,
    chapter 2; the additive kernel is that of D. Duvenaud et al., NeurIPS 2011.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np

from edgeprune.arrays import Floats, Ints

# Hyperparameters, as shares of a block's time.
BEND = 0.1
JUMP = 0.003
NOISE = 0.005


@dataclass(frozen=True)
class Shape:
    """What a block's time depends on.

    Attributes:
        full: Largest width of each of its groups (D,); widths are seen as shares of it.
        pairs: Groups that act together, as positions in ``full``.
    """

    full: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]

    def curve(self, group: int, left: Ints, right: Ints) -> Floats:
        """Covariance of one group's curve between widths ``left`` (N,) and ``right`` (M,)."""
        a, b = left[:, None] / self.full[group], right[None, :] / self.full[group]
        covariance: Floats = a * b + BEND * np.minimum(a, b) + JUMP * (a == b)
        return covariance

    def covariance(self, left: Ints, right: Ints) -> Floats:
        """Covariance (N, M) of the times at widths ``left`` (N, D) and ``right`` (M, D)."""
        groups = range(len(self.full))
        curves = [self.curve(d, left[:, d], right[:, d]) for d in groups]
        total = np.ones((len(left), len(right)))
        return reduce(np.add, [*curves, *(curves[d] * curves[e] for d, e in self.pairs)], total)

    def variance(self, widths: Ints) -> Floats:
        """Prior variance (P,) of the times at widths (P, D)."""
        shares = widths / np.array(self.full)
        curves = shares**2 + BEND * shares + JUMP  # (P, D)
        joint = sum((curves[:, d] * curves[:, e] for d, e in self.pairs), np.zeros(len(widths)))
        total: Floats = 1 + curves.sum(axis=1) + joint
        return total

    def most_informative(self, candidates: Ints, count: int) -> tuple[int, ...]:
        """Which of ``candidates`` (N, D) to time so that the others are predicted best.

        Each next one is that of which those before say least (pivoted Cholesky), so the corners
        come first and every width is soon seen once.
        """
        spread = self.variance(candidates)  # (N,), what is not known of each
        columns: list[Floats] = []
        chosen: list[int] = []
        for _ in range(min(count, len(candidates))):
            best = int(np.argmax(spread))
            column = self.covariance(candidates, candidates[best : best + 1])[:, 0]
            column = column - sum((c * c[best] for c in columns), np.zeros(len(column)))
            column = column / np.sqrt(max(spread[best], 0) + NOISE**2)
            spread = spread - column**2
            spread[best] = -np.inf
            columns.append(column)
            chosen.append(best)
        return tuple(chosen)


class Additive(Protocol):
    """A quantity of a block that is a sum over groups and pairs of groups."""

    @property
    def constant(self) -> float:
        """The part that no width changes."""

    def curve(self, group: int, widths: Ints) -> Floats:
        """The part (P,) that one group adds alone, at its widths (P,)."""

    def joint(self, pair: tuple[int, int], left: Ints, right: Ints) -> Floats:
        """The part (L, R) that a pair adds, at widths (L,) of the first and (R,) of the second."""


@dataclass(frozen=True)
class Surface:
    """A block's time over its widths, learnt from the timed ones.

    Attributes:
        shape: Groups and pairs of groups that it depends on.
        timed: Widths that were timed (N, D).
        weights: Weight of each timed point (N,).
    """

    shape: Shape
    timed: Ints
    weights: Floats

    def at(self, widths: Ints) -> Floats:
        """Times (P,) at widths (P, D)."""
        return self.shape.covariance(widths, self.timed) @ self.weights

    @property
    def constant(self) -> float:
        """The part that no width changes."""
        return float(self.weights.sum())

    def curve(self, group: int, widths: Ints) -> Floats:
        """The part (P,) that one group adds alone, at its widths (P,)."""
        return self.shape.curve(group, widths, self.timed[:, group]) @ self.weights

    def joint(self, pair: tuple[int, int], left: Ints, right: Ints) -> Floats:
        """The part (L, R) that a pair adds, at widths (L,) of the first and (R,) of the second."""
        first = self.shape.curve(pair[0], left, self.timed[:, pair[0]])  # (L, N)
        second = self.shape.curve(pair[1], right, self.timed[:, pair[1]])  # (R, N)
        return (first * self.weights) @ second.T


def learn(shape: Shape, points: Ints, times: Floats, noise: float = NOISE) -> Surface:
    """Fit a surface to times (N,) at widths ``points`` (N, D); a block without groups has D = 0.

    ``noise`` is the standard deviation of a time, as a share of the longest.
    """
    scale = float(np.abs(times).max()) or 1.0
    covariance = shape.covariance(points, points) + noise**2 * np.eye(len(times))
    weights = np.asarray(np.linalg.solve(covariance, times / scale) * scale, np.float64)
    return Surface(shape, points, weights)
