"""Predicts the latency of networks from whole ones that were timed, where blocks do not add up."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeprune.arrays import Floats, Ints
from edgeprune.deploy.table.fitting import judged
from edgeprune.deploy.table.latency_model import Fit, Predictor
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.records import Table
from edgeprune.deploy.table.surface import Shape, Surface, learn

NOISE = 0.01  # of a network's time: what its own time is worth
_CHUNK = 1 << 11  # rows at once: bounds the memory that a large population takes


@dataclass(frozen=True, kw_only=True)
class WholeNetworks(Predictor):
    """Predicts the latency of a network from whole ones; it need not have blocks.

    Attributes:
        rough: Predicts the time from the counted work alone.
        surface: Share by which ``rough`` is off, over the widths of all groups.
        timed: Networks that were timed for it.
        reason: Why blocks are not summed, in words that follow "as".
    """

    rough: "ByWork"
    surface: Surface
    timed: int
    reason: str

    @property
    def names(self) -> tuple[str, ...]:
        """What :meth:`by_block` lists."""
        return ("network",)

    @property
    def source(self) -> str:
        """What predictions are made of, and why not of blocks."""
        return f"{self.timed} whole networks, as {self.reason}"

    def predict(self, widths: NDArray[np.integer]) -> Floats:
        """Predicted latencies (P,) in ms at widths (P, G).

        Raises:
            InputError: not G widths, or a width that is not on the grid.
        """
        settled = self.columns.settled(self.columns.population(widths))
        parts = [
            self.rough.at(some) * (1 + self.surface.at(some))
            for some in np.array_split(settled, -(-len(settled) // _CHUNK))
        ]
        found: Floats = np.concatenate(parts) * self.fit.reference_ms
        return found

    def by_block(self, widths: NDArray[np.integer]) -> Floats:
        """Predicted ms of one network, widths (G,), as its only block, shape (1,)."""
        return self.predict(widths)


@dataclass(frozen=True)
class ByWork:
    """Times as an affine function of multiply-accumulates, in times of the reference.

    Attributes:
        work: Counts the multiply-accumulates (P,) of networks with widths (P, G).
        scale: Time of one.
        offset: Time of none.
    """

    work: Callable[[Ints], Floats | Ints]
    scale: float
    offset: float

    def at(self, widths: Ints) -> Floats:
        """Times (P,) at widths (P, G)."""
        found: Floats = self.scale * np.asarray(self.work(widths), np.float64) + self.offset
        return found


def learnt(
    network: Network,
    grid: tuple[int, ...],
    measured: Table,
    reason: str,
    work: Callable[[Ints], Floats | Ints],
) -> WholeNetworks:
    """Learn the time of whole networks over the widths of all groups.

    Args:
        network: The network.
        grid: Widths the device rewards.
        measured: The timed networks of this network alone.
        reason: Why blocks are not summed.
        work: As for :class:`ByWork`.
    """
    (nets,) = measured.networks.values()
    pairs = tuple(sorted(network.whole.joined)) if network.blocks else ()
    points = np.array([widths for widths, _ in nets.fitted], np.int64)  # (N, G)
    times = np.array([time for _, time in nets.fitted])
    rows = np.stack([work(points), np.ones(len(times))], axis=1) / times[:, None]
    scale, offset = np.linalg.lstsq(rows, np.ones(len(times)), rcond=None)[0].tolist()
    rough = ByWork(work, scale, offset)
    off = times / rough.at(points) - 1  # (N,)
    noise = NOISE / max(float(np.abs(off).max()), NOISE)
    model = WholeNetworks(
        network=network,
        grid=grid,
        fit=Fit(reference_ms=nets.reference_ms),
        document=measured.to_json(),
        rough=rough,
        surface=learn(Shape(network.full, pairs), points, off, noise),
        timed=len(nets.fitted),
        reason=reason,
    )
    return replace(model, fit=judged(model.fit, model.predict, nets.held_out))
