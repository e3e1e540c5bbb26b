"""Measures what a latency table lacks: the channel grid, units, whole networks."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgeprune.arrays import Floats, Ints
from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.unit import in_int8
from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.footprint import BYTES, weights_of
from edgeprune.deploy.table.grid import levels, probe_units, reference, rewarded
from edgeprune.deploy.table.network import Block, Network
from edgeprune.deploy.table.records import Table, TimedNetworks, rounded
from edgeprune.deploy.table.stopwatch import Pace, Times, time_units
from edgeprune.deploy.table.units import variants
from edgeprune.deploy.timing.setting import Setting
from edgeprune.progress import Progress, renamed, silent
from edgeprune.text import digest

FITTED = 16  # networks that the fit of the blocks sees
LEARNT = 72  # networks that their own time is learnt from, where blocks do not add up
HELD_OUT = 12  # networks that judge it
CACHE_BYTES = 64e6  # no cache of the devices we know holds more
MOST_TOGETHER = 96  # units open at once on the device


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a device is probed.

    Attributes:
        device: Machine to be probed.
        units: How thoroughly blocks are timed.
        networks: How thoroughly whole networks are timed.
        held_out: Networks that only judge the table; at least 3.
        learnt: Networks that latency is learnt from where blocks do not add up; at least 3.
        rebuild: Measure everything again, whatever a table on disk says.
        progress: Called with what is being measured, and how far it is.
        whole: Builds the ONNX file of a network at widths (G,) where that has no blocks.
        uncut: Why it has none.
        work: Counts the multiply-accumulates (P,) of networks with widths (P, G).
    """

    device: Device = field(default_factory=Local)
    units: Pace = field(default_factory=Pace)
    networks: Pace = field(default_factory=lambda: Pace(together=8, rounds=2, least=9, most=11))
    held_out: int = HELD_OUT
    learnt: int = LEARNT
    rebuild: bool = False
    progress: Progress = silent
    whole: Callable[[Sequence[int]], bytes] | None = None
    uncut: str = ""
    work: Callable[[Ints], Floats | Ints] = field(default=lambda widths: widths.sum(axis=1))


def network_id(network: Network, grid: Sequence[int]) -> str:
    """Identity of a search space: the same blocks, wired alike, on the same grid."""
    blocks = [(block.signature, block.groups) for block in network.blocks]
    shapes = (network.full, network.branches, network.input_shape, network.owned)
    if not blocks:
        blocks = [(network.graph, ())]
    return digest(repr((blocks, *shapes, tuple(grid))))


def whole_id(network: Network, grid: Sequence[int]) -> str:
    """Identity of the networks of a search space that its latency is learnt from."""
    return f"{network_id(network, grid)} whole"


def draw(
    network: Network, grid: Sequence[int], count: int, seed: int
) -> tuple[tuple[int, ...], ...]:
    """Random networks of the search space, widths (G,) each.

    In turn: inner widths alone, dropped branches as well, narrowed streams as well, all three.
    """
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        dropping, narrowing = number % 4 in (1, 3), number % 4 in (2, 3)
        gone = {g for branch in network.branches if random.random() < 0.35 for g in branch}
        # A network without branches has no inner widths: all of its widths are drawn.
        widths = [
            int(random.choice(levels(network, group, grid)))
            if group in network.droppable or narrowing or not network.branches
            else full
            for group, full in enumerate(network.full)
        ]
        kept = [0 if dropping and g in gone else width for g, width in enumerate(widths)]
        found.append(tuple(kept))
    return tuple(found)


def smallest(network: Network, grid: Sequence[int]) -> tuple[int, ...]:
    """The smallest network of the search space, widths (G,)."""
    droppable = network.droppable
    return tuple(
        0 if group in droppable else levels(network, group, grid)[0]
        for group in range(len(network.full))
    )


class Bench:
    """Measures what a table lacks, and counts what it timed.

    Args:
        setting: Device, clock and runtime.
        options: How the device is probed.
        scheme: Number formats; None for fp32.

    Attributes:
        timed: Units timed so far.
        doubtful: Those of them that were timed while the machine was too busy.
    """

    def __init__(self, setting: Setting, options: Probe, scheme: Scheme | None) -> None:
        self.setting, self.options, self.scheme = setting, options, scheme
        self.timed = 0
        self.doubtful = 0
        self.fast_ms = math.inf

    def with_grid(self, table: Table) -> Table:
        """The table with the widths that the device rewards."""
        units = probe_units()
        times = self._time([u for role in units.values() for u in role], "channel grid", None)
        shares = np.split(times.hot, len(units))
        costs = {
            role: tuple(rounded(float(cost / own[-1])) for cost in own)
            for role, own in zip(units, shares, strict=True)
        }
        return table.model_copy(update={"costs": costs, "grid": rewarded(costs)})

    def with_units(self, table: Table, network: Network, grid: Sequence[int]) -> Table:
        """The table with every unit that the network's blocks need."""
        families = [family for variant in variants(network, grid) for family in variant]
        units = {key: block for family in families for key, block in family.units().items()}
        lacking = {key: block for key, block in units.items() if key not in table.units}
        if not lacking:
            return table
        models = [assemble(block) for block in lacking.values()]
        times = self._time(models, "blocks", self._crowded(network, lacking.values()))
        pairs = (
            (rounded(hot), rounded(cold)) for hot, cold in zip(times.hot, times.cold, strict=True)
        )
        found = dict(zip(lacking, pairs, strict=True))
        return table.model_copy(update={"units": {**table.units, **found}})

    def _crowded(self, network: Network, units: Collection[Block]) -> Pace:
        """So many units in turn that they push each other out of the cache, as a network does."""
        whole = weights_of(network.at(network.full), ()).constant
        mean = sum(weights_of(unit, ()).constant for unit in units) / len(units)
        cache = CACHE_BYTES * (1 if self.scheme is None else BYTES)  # int8 weights take a byte
        together = math.ceil(min(whole, cache) / max(mean, 1.0))
        pace = self.options.units
        return replace(pace, together=min(max(together, pace.together), MOST_TOGETHER))

    def with_networks(self, table: Table, network: Network, grid: Sequence[int]) -> Table:
        """The table with whole networks; the fit sees the dense and the smallest one."""
        return self._with_timed(table, network, grid, network_id(network, grid), FITTED)

    def with_more_networks(self, table: Table, network: Network, grid: Sequence[int]) -> Table:
        """The table with as many whole networks as their time is learnt from."""
        return self._with_timed(table, network, grid, whole_id(network, grid), self.options.learnt)

    def _with_timed(
        self, table: Table, network: Network, grid: Sequence[int], identity: str, fitted: int
    ) -> Table:
        known = table.networks.get(identity)
        if known and len(known.held_out) >= self.options.held_out:
            return table
        drawn = draw(network, grid, fitted - 2 + self.options.held_out, seed=0)
        every = (network.full, smallest(network, grid), *drawn)
        models = [self._built(network, widths) for widths in self._told(every)]
        times = self._time(models, "whole networks", self.options.networks)
        timed = tuple(zip(every, map(rounded, times.hot), strict=True))
        record = TimedNetworks(
            reference_ms=rounded(times.reference_ms),
            fitted=timed[:fitted],
            held_out=timed[fitted:],
        )
        return table.model_copy(update={"networks": {**table.networks, identity: record}})

    def _told(self, every: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        """Widths one by one; where torch exports each of them, that is told."""
        for done, widths in enumerate(every, 1):
            yield widths
            if self.options.whole:
                self.options.progress("exporting networks to be timed", done, len(every))

    def _built(self, network: Network, widths: Sequence[int]) -> bytes:
        return self.options.whole(widths) if self.options.whole else assemble(network.at(widths))

    def _time(self, units: Sequence[bytes], what: str, pace: Pace | None) -> Times:
        pace = pace or self.options.units
        if self.scheme is not None:
            units = [in_int8(unit, self.scheme) for unit in units]
        progress = renamed(self.options.progress, f"measuring {what}")
        times = time_units(units, reference(), self.setting, pace, progress, self.fast_ms)
        self.fast_ms = min(self.fast_ms, times.reference_ms)
        self.timed += len(units)
        self.doubtful += times.doubtful
        return times
