"""The bytes of weights of a block as a quadratic form in the widths of its channel groups.

A network whose weights fit into the cache finds them there at its next run; a larger one does
not. So the footprint of the whole network says which of two measured times holds for its blocks.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.arrays import Floats, Ints
from edgeprune.deploy.table.graph import Width
from edgeprune.deploy.table.network import Block

BYTES = 4  # of a float32


@dataclass(frozen=True)
class Footprint:
    """A quadratic form in the widths of a block's groups, in bytes.

    Attributes:
        parts: Coefficients by the groups they multiply, ascending: none, one, one twice, two.
    """

    parts: dict[tuple[int, ...], float]

    @property
    def constant(self) -> float:
        """The part that no width changes."""
        return self.parts.get((), 0.0)

    def curve(self, group: int, widths: Ints) -> Floats:
        """The part (P,) that one group adds alone, at its widths (P,)."""
        own = widths.astype(np.float64)
        linear, square = self.parts.get((group,), 0.0), self.parts.get((group, group), 0.0)
        return own * linear + own**2 * square

    def joint(self, pair: tuple[int, int], left: Ints, right: Ints) -> Floats:
        """The part (L, R) that a pair adds, at widths (L,) of the first and (R,) of the second."""
        part = np.outer(left, right) * self.parts.get(pair, 0.0)
        return np.asarray(part, np.float64)


def weights_of(block: Block, groups: Sequence[int]) -> Footprint:
    """Bytes of the fp32 weights of a block; groups that are not among ``groups`` are 0 wide."""
    places = {group: place for place, group in enumerate(groups)}
    parts: dict[tuple[int, ...], float] = defaultdict(float)
    for constant in (one for op in block.ops if op.is_weighted for one in op.constants):
        if not constant.is_weight or len(constant.shape) < 2:
            continue
        open_ = [width for width in constant.shape if width.terms]
        taps = math.prod(width.fixed for width in constant.shape if not width.terms)
        left, right = (*open_, Width(1), Width(1))[:2]  # channels that go out, and that come in
        for one, a in _terms(left, places):
            for other, b in _terms(right, places):
                parts[tuple(sorted(one + other))] += BYTES * taps * a * b
    return Footprint(dict(parts))


def _terms(width: Width, places: dict[int, int]) -> list[tuple[tuple[int, ...], int]]:
    """A width as (place of its group, times); its fixed part has no place."""
    terms = [((places[group],), times) for group, times in width.terms if group in places]
    return [((), width.fixed), *terms]
