"""Places of widths on the grid of a search space: what every prediction looks up first."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeprune.deploy.table.grid import levels
from edgeprune.deploy.table.network import Network
from edgeprune.errors import InputError


@dataclass(frozen=True)
class Columns:
    """The widths that a search space allows.

    Attributes:
        network: The network.
        grid: Widths the device rewards.
    """

    network: Network
    grid: tuple[int, ...]

    def levels(self, group: int) -> tuple[int, ...]:
        """Widths of a group that can be predicted, ascending; 0 first where it can be dropped."""
        dropped = (0,) if group in self.network.droppable else ()
        return (*dropped, *levels(self.network, group, self.grid))

    def population(self, widths: NDArray[np.integer]) -> NDArray[np.integer]:
        """Widths (P, G) of a population, also of one network (G,).

        Raises:
            InputError: not G widths.
        """
        population = np.atleast_2d(np.asarray(widths))
        if population.shape[1] != len(self.network.full):
            raise InputError(f"{population.shape[1]} widths for {len(self.network.full)} groups")
        return population

    def places(self, widths: NDArray[np.integer]) -> list[NDArray[np.int32]]:
        """Levels of the groups, then flags of the dropped branches, each (P,).

        Raises:
            InputError: a width that is not on the grid.
        """
        columns = [self._places(group, widths[:, group]) for group in range(widths.shape[1])]
        for branch in self.network.branches:
            gone = np.minimum.reduce([columns[group] for group in branch]) == 0
            if len(branch) > 1:
                for group in branch:  # one group at 0 takes the others with it
                    columns[group] = np.where(gone, np.int32(0), columns[group])
            columns.append(gone.astype(np.int32))  # (P,), 1 where the branch is dropped
        return columns

    def settled(self, widths: NDArray[np.integer]) -> NDArray[np.int64]:
        """Widths (P, G) with all groups of a dropped branch at 0; refuses what is off the grid."""
        places = self.places(widths)
        groups = range(len(self.network.full))
        return np.stack([np.array(self.levels(group))[places[group]] for group in groups], axis=1)

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
