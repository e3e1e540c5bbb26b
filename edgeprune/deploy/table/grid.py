"""The channel grid: reads the widths that a device rewards off measured convolutions.

Kernels work on blocks of channels: within a step every width costs the same, so only the largest
width of a step is worth keeping, and a width that falls off the fast path costs more than a
larger one on it. Where the steps lie no data sheet says; it is read off the device's clock.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from edgeprune.deploy.table.assemble import assemble, convolution, in_context
from edgeprune.deploy.table.graph import Op, Width
from edgeprune.deploy.table.network import Block, Network

LARGEST = 64  # wider layers continue the last step
LEAST_SAVING = 0.03  # of the time at the last width that is rewarded
LEAST_SHARE = 0.2  # of the share of channels that a width gives away


def residual_block(stream: int, inner: int, side: int) -> Block:
    """A basic residual block on ``stream`` channels of side x side pixels."""
    wide, narrow, square = Width(stream), Width(inner), (side, side)
    shape = Width(1), wide, Width(side), Width(side)
    inside = Width(1), narrow, Width(side), Width(side)
    return Block(
        name="residual",
        ops=(
            convolution(("in", wide), ("a", narrow), square),
            Op(kind="Relu", inputs=("a",), outputs=("b",), shapes=(inside,)),
            convolution(("b", narrow), ("c", wide), square),
            Op(kind="Add", inputs=("c", "in"), outputs=("d",), shapes=(shape,)),
            Op(kind="Relu", inputs=("d",), outputs=("out",), shapes=(shape,)),
        ),
        input="in",
        shape=shape,
        output="out",
    )


@cache
def reference() -> bytes:
    """The unit every other one is timed against, the same for all networks and machines."""
    return assemble(in_context(residual_block(32, 32, 16)))


def probe_units() -> dict[str, tuple[bytes, ...]]:
    """Units whose time says what each width 1..64 costs, by the role of that width.

    ``inner``: between two convolutions; ``stream``: what a residual stream carries.
    """
    widths = range(1, LARGEST + 1)
    return {
        "inner": tuple(assemble(in_context(residual_block(32, w, 16))) for w in widths),
        "stream": tuple(assemble(in_context(residual_block(w, 64, 8))) for w in widths),
    }


def rewarded(costs: Mapping[str, Sequence[float]]) -> tuple[int, ...]:
    """The largest width of each step.

    Going down, a width is rewarded if it saves at least 3 % over the last one that is, and at
    least a fifth of the share of channels that it gives away.

    Args:
        costs: Cost of widths 1..n for each role (n,); roles count alike.

    Returns:
        Widths, ascending; the last one is n.
    """
    # Mean over the roles of the log cost (n,), so that a slow role does not outvote a fast one.
    logs = np.mean([np.log(np.asarray(cost) / cost[-1]) for cost in costs.values()], axis=0)
    kept = [len(logs)]
    for width in range(len(logs) - 1, 0, -1):
        saved = 1 - np.exp(logs[width - 1] - logs[kept[-1] - 1])
        if saved >= max(LEAST_SAVING, LEAST_SHARE * (1 - width / kept[-1])):
            kept.append(width)
    return tuple(reversed(kept))


def levels(network: Network, group: int, grid: Sequence[int]) -> tuple[int, ...]:
    """Widths above 0 that a group of a network may have, ascending.

    Those of the grid, continued by its last step, up to the full width, which is always one of
    them. The grid counts channels of a layer: a channel that owns k of them takes the widths w
    for which w * k is on the grid.
    """
    share, full = network.share(group), network.full[group]
    step = grid[-1] - (grid[-2] if len(grid) > 1 else 0)
    channels = (*grid, *range(grid[-1] + step, full * share, step))
    inside = {width // share for width in channels if width % share == 0}
    return (*sorted(width for width in inside if width < full), full)
