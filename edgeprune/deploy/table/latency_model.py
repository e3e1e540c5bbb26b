"""The latency model: predicts the latency of a population of networks from small tables."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeprune.arrays import Floats
from edgeprune.deploy.table.columns import Columns
from edgeprune.deploy.table.lookup import Tables
from edgeprune.deploy.table.network import Network

_CHUNK = 1 << 14  # rows at once: bounds the memory that a large population takes


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the sums over blocks become the time of the network, and how well they do.

    The time in times of the reference is ``scale * hot + more * share * extra + offset``: what
    the blocks take with their weights in the cache, and what they take more without. ``share``
    grows from 0 to 1 while the network's weights grow from ``fits`` to ``spills`` bytes.

    Attributes:
        scale: Factor of the sum of the blocks.
        more: Factor of the time that cold weights add.
        offset: Time of a run beyond its blocks.
        fits: Bytes of weights of a network up to which the cache keeps them.
        spills: Bytes of weights from which it keeps none.
        reference_ms: Milliseconds of the reference unit.
        mean_error: Mean of |predicted/measured - 1| on networks that the fit has not seen.
        max_error: Largest |predicted/measured - 1| on these networks.
        rank: Spearman's rank correlation on these networks.
        held_out: Number of these networks.
    """

    scale: float = 1.0
    more: float = 1.0
    offset: float = 0.0
    fits: float = 0.0
    spills: float = 1.0
    reference_ms: float
    mean_error: float = float("nan")
    max_error: float = float("nan")
    rank: float = float("nan")
    held_out: int = 0

    def apply(self, sums: Floats) -> Floats:
        """Milliseconds (P,) from the sums (P, 3) of :data:`units.PIECES`."""
        return self.of_parts(sums, sums[:, 2]) + self.offset * self.reference_ms

    def of_parts(self, sums: Floats, weights: Floats | float) -> Floats:
        """Milliseconds (P,) without the offset, of parts of networks with these weights."""
        hot, extra, _ = sums.T  # (P,) each
        share = np.clip((weights - self.fits) / (self.spills - self.fits), 0, 1)
        ms: Floats = self.scale * hot + self.more * share * extra
        return ms * self.reference_ms


@dataclass(frozen=True, kw_only=True)
class Predictor(ABC):
    """Predicts the latency of a network at any widths of its grid.

    Attributes:
        network: The network.
        grid: Widths the device rewards.
        fit: The held-out error, and the milliseconds of the reference.
        document: The measurements it is made of, canonical JSON, for the run folder.
    """

    network: Network
    grid: tuple[int, ...]
    fit: Fit
    document: bytes

    @property
    def error(self) -> float:
        """Mean relative error on networks that were not used for the fit, as a fraction."""
        return self.fit.mean_error

    @property
    def sha256(self) -> str:
        """Hash of the measurements."""
        return hashlib.sha256(self.document).hexdigest()

    @cached_property
    def columns(self) -> Columns:
        """The widths that can be predicted."""
        return Columns(self.network, self.grid)

    def levels(self, group: int) -> tuple[int, ...]:
        """Widths of a group that can be predicted, see :meth:`Columns.levels`."""
        return self.columns.levels(group)

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What :meth:`by_block` lists."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What predictions are made of, in words."""

    @abstractmethod
    def predict(self, widths: NDArray[np.integer]) -> Floats:
        """Predicted latencies (P,) in ms at widths (P, G).

        Raises:
            InputError: not G widths, or a width that is not on the grid.
        """

    @abstractmethod
    def by_block(self, widths: NDArray[np.integer]) -> Floats:
        """Predicted ms of one network, widths (G,), by its parts; they sum to the whole."""


@dataclass(frozen=True, kw_only=True)
class LatencyModel(Predictor):
    """Predicts the latency of a network from the sum of its blocks; ``fit`` adds them up.

    Attributes:
        tables: Parts of the sums (..., 3), by the columns they are looked up with, see lookup.py.
        constant: Part of the sums (3,) that nothing changes.
        blocks: Tables and constant of every block alone, in the network's order.
    """

    tables: Tables
    constant: Floats
    blocks: tuple[tuple[Tables, Floats], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What :meth:`by_block` lists."""
        return (*(block.name for block in self.network.blocks), "beyond the blocks")

    @property
    def source(self) -> str:
        """What predictions are made of."""
        return f"the sum of {len(self.network.blocks)} blocks"

    def predict(self, widths: NDArray[np.integer]) -> Floats:
        """Predicted latencies (P,) in ms at widths (P, G); refuses what :meth:`sums` refuses."""
        return self.fit.apply(self.sums(widths))

    def by_block(self, widths: NDArray[np.integer]) -> Floats:
        """Predicted ms of one network, widths (G,): of every block and, last, of what is beyond.

        Returns:
            Shape (B + 1,); its sum is what :meth:`predict` says.
        """
        alone = [replace(self, tables=own, constant=rest) for own, rest in self.blocks]
        sums = np.concatenate([block.sums(widths) for block in alone])  # (B, 3)
        own = self.fit.of_parts(sums, float(sums[:, 2].sum()))
        return np.append(own, self.fit.offset * self.fit.reference_ms)

    def sums(self, widths: NDArray[np.integer]) -> Floats:
        """Sums (P, 3) over the blocks of networks with widths (P, G).

        Raises:
            InputError: not G widths, or a width that is not on the grid.
        """
        population = self.columns.population(widths)
        total = np.empty((len(population), len(self.constant)))  # (P, 3)
        for start in range(0, len(population), _CHUNK):
            self._sum(population[start : start + _CHUNK], total[start : start + _CHUNK])
        return total

    def _sum(self, widths: NDArray[np.integer], total: Floats) -> None:
        columns = self.columns.places(widths)
        total[:] = self.constant
        for keys, table in self.tables:
            # Places in the table, flattened: ((a * B) + b) * C + c for columns (P,) each.
            flat = columns[keys[0]]
            for key, size in zip(keys[1:], table.shape[1:], strict=False):
                flat = flat * size + columns[key]
            total += table.reshape(-1, table.shape[-1]).take(flat, axis=0)
