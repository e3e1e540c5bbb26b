"""Merges the latency surfaces of all blocks into a few lookup tables over channel groups.

A table is looked up with columns: columns 0..G-1 are the levels of the groups, column G + k says
whether branch k is dropped. What a block costs without its branch is no sum of what it costs with
it, so the parts of such a block that the branch does not touch come twice, once for each flag.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeprune.arrays import Floats
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.surface import Additive
from edgeprune.deploy.table.units import PIECES, Family

Columns = tuple[int, ...]
Tables = tuple[tuple[Columns, Floats], ...]
Pieces = tuple[Additive, ...]


@dataclass
class Sums:
    """Tables being added up.

    Attributes:
        network: The network.
        tables: What was added so far, by columns.
    """

    network: Network
    tables: dict[Columns, Floats] = field(default_factory=dict)

    def add_block(self, families: Sequence[tuple[Family, Additive]]) -> None:
        """Add a block: its family and surface, then those without its branch if it has one."""
        branch = families[-1][0].dropped
        flags = [k for k, groups in enumerate(self.network.branches) if set(branch) & set(groups)]
        for family, surface in families:
            for columns, part in self._parts(family, surface):
                if not flags or set(columns) & set(branch):
                    self._add(columns, part)
                    continue
                twice = np.zeros((*part.shape, 2))  # branch kept, branch dropped
                twice[..., int(bool(family.dropped))] = part
                self._add((*columns, len(self.network.full) + flags[0]), twice)

    def finished(self) -> tuple[Tables, float]:
        """As few tables as hold the same sum, and what no column changes."""
        # Small tables go into larger ones that have all of their columns: fewer look-ups.
        order = sorted(self.tables, key=lambda columns: (len(columns), columns))
        merged = {columns: self.tables[columns].copy() for columns in order}
        for small in order:
            larger = (c for c in order[::-1] if c in merged and c != small)
            large = next((c for c in larger if self._covers(c, small)), None)
            if small and large is not None:
                merged[large] += self._spread(merged.pop(small), small, large)
        constant = float(merged.pop((), np.zeros(())))
        return tuple(merged.items()), constant

    def _parts(self, family: Family, surface: Additive) -> Iterator[tuple[Columns, Floats]]:
        """Constant, curves and joint parts over all levels of the groups; width 0 adds nothing."""
        groups = family.groups
        widths = [np.array(own, np.int64) for own in family.levels]
        yield (), np.array(surface.constant)
        for place, group in enumerate(groups):
            yield self._ordered((group,), surface.curve(place, widths[place]))  # (L,)
        for a, b in family.shape.pairs:
            part = surface.joint((a, b), widths[a], widths[b])  # (L of a, L of b)
            yield self._ordered((groups[a], groups[b]), part)

    def _ordered(self, groups: Columns, part: Floats) -> tuple[Columns, Floats]:
        """Put the columns in ascending order, and a row for width 0 where there is one."""
        droppable = self.network.droppable
        part = np.pad(part, [(int(group in droppable), 0) for group in groups])
        order = np.argsort(groups)
        return tuple(groups[place] for place in order), part.transpose(order)

    def _add(self, columns: Columns, part: Floats) -> None:
        self.tables[columns] = self.tables.get(columns, np.zeros(part.shape)) + part

    def _decided_by(self, column: int, columns: Columns) -> int | None:
        """The column of ``columns`` that decides this one; a flag is decided by its only group."""
        if column in columns:
            return column
        groups = len(self.network.full)
        branch = self.network.branches[column - groups] if column >= groups else ()
        return branch[0] if len(branch) == 1 and branch[0] in columns else None

    def _covers(self, large: Columns, small: Columns) -> bool:
        return len(large) >= len(small) and all(
            self._decided_by(column, large) is not None for column in small
        )

    def _spread(self, part: Floats, small: Columns, large: Columns) -> Floats:
        """The small table over the columns of the large one."""
        places = np.indices(self.tables[large].shape)  # (columns of large, *its shape)
        index = []
        for column in small:
            source = self._decided_by(column, large)
            place = places[large.index(column if source is None else source)]
            index.append(place if source == column else (place == 0).astype(np.int64))
        spread: Floats = part[tuple(index)]
        return spread


def tables_of(
    network: Network, blocks: Sequence[Sequence[tuple[Family, Pieces]]]
) -> tuple[Tables, Floats]:
    """Tables and constant of the sums over all blocks, the pieces along the last axis.

    ``blocks`` holds each one's family and pieces, then those without its branch.
    """
    totals = []  # tables and constant of each piece
    for piece in range(len(PIECES)):
        sums = Sums(network)
        for families in blocks:
            sums.add_block([(family, pieces[piece]) for family, pieces in families])
        totals.append(sums.finished())
    tables = zip(*(parts for parts, _ in totals), strict=True)
    stacked = tuple((same[0][0], np.stack([t for _, t in same], axis=-1)) for same in tables)
    return stacked, np.array([constant for _, constant in totals])
