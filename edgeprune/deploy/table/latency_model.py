"""The latency model: predicts the latency of a population of networks from small tables."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeprune.arrays import Floats
from edgeprune.deploy.table.grid import levels
from edgeprune.deploy.table.lookup import Tables
from edgeprune.deploy.table.network import Network
from edgeprune.errors import InputError

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
class LatencyModel:
    """Predicts the latency of a network at any widths of its grid.

    Attributes:
        network: The network.
        grid: Widths the device rewards.
        fit: How the blocks add up, with the held-out error.
        document: The measurements it is made of, canonical JSON, for the run folder.
        tables: Parts of the sums (..., 3), by the columns they are looked up with, see lookup.py.
        constant: Part of the sums (3,) that nothing changes.
        blocks: Tables and constant of every block alone, in the network's order.
    """

    network: Network
    grid: tuple[int, ...]
    fit: Fit
    document: bytes
    tables: Tables
    constant: Floats
    blocks: tuple[tuple[Tables, Floats], ...] = ()

    @property
    def error(self) -> float:
        """Mean relative error on networks that were not used for the fit, as a fraction."""
        return self.fit.mean_error

    @property
    def sha256(self) -> str:
        """Hash of the measurements."""
        return hashlib.sha256(self.document).hexdigest()

    def levels(self, group: int) -> tuple[int, ...]:
        """Widths of a group that can be predicted, ascending; 0 first where it can be dropped."""
        dropped = (0,) if group in self.network.droppable else ()
        return (*dropped, *levels(self.network, group, self.grid))

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
        population = np.atleast_2d(np.asarray(widths))
        if population.shape[1] != len(self.network.full):
            raise InputError(f"{population.shape[1]} widths for {len(self.network.full)} groups")
        total = np.empty((len(population), len(self.constant)))  # (P, 3)
        for start in range(0, len(population), _CHUNK):
            self._sum(population[start : start + _CHUNK], total[start : start + _CHUNK])
        return total

    def _sum(self, widths: NDArray[np.integer], total: Floats) -> None:
        columns = self._columns(widths)
        total[:] = self.constant
        for keys, table in self.tables:
            # Places in the table, flattened: ((a * B) + b) * C + c for columns (P,) each.
            flat = columns[keys[0]]
            for key, size in zip(keys[1:], table.shape[1:], strict=False):
                flat = flat * size + columns[key]
            total += table.reshape(-1, table.shape[-1]).take(flat, axis=0)

    def _columns(self, widths: NDArray[np.integer]) -> list[NDArray[np.int32]]:
        """Levels of the groups, then flags of the dropped branches, each (P,)."""
        columns = [self._places(group, widths[:, group]) for group in range(widths.shape[1])]
        for branch in self.network.branches:
            gone = np.minimum.reduce([columns[group] for group in branch]) == 0
            if len(branch) > 1:
                for group in branch:  # one group at 0 takes the others with it
                    columns[group] = np.where(gone, np.int32(0), columns[group])
            columns.append(gone.astype(np.int32))  # (P,), 1 where the branch is dropped
        return columns

    def _places(self, group: int, widths: NDArray[np.integer]) -> NDArray[np.int32]:
        """Place (P,) of each width among the levels of its group."""
        full = self.network.full[group]
        inside = np.where((widths < 0) | (widths > full), full + 1, widths)
        found = self._place_of_width[group].take(inside)
        if found.min(initial=0) < 0:
            wrong = int(widths[int(found.argmin())])
            raise InputError(
                f"width {wrong} of group {group} was not measured; it may be one of "
                + ", ".join(map(str, self.levels(group)))
            )
        return found

    @cached_property
    def _place_of_width(self) -> list[NDArray[np.int32]]:
        """For every group, the place (full + 2,) of each width among its levels, -1 for none."""
        tables = []
        for group, full in enumerate(self.network.full):
            known = self.levels(group)
            places = np.full(full + 2, -1, np.int32)
            places[list(known)] = np.arange(len(known), dtype=np.int32)
            tables.append(places)
        return tables
