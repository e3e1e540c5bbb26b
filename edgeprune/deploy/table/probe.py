"""Probes a device: times what the latency table of a search space lacks and builds its model.

The time of a network is a sum over its fused blocks, ``latency = a * sum + b``. Each block is
timed behind a small convolution and that convolution alone is taken off, so what lies between
blocks (a change of layout, the overhead of a run) cancels along the chain; ``a`` and ``b`` come
from whole networks of the search space, and other such networks say how well it predicts.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.precision.scheme import Scheme, scheme_for
from edgeprune.deploy.precision.unit import in_int8
from edgeprune.deploy.table import storage
from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.fitting import fitted
from edgeprune.deploy.table.footprint import BYTES, weights_of
from edgeprune.deploy.table.grid import levels, probe_units, reference, rewarded
from edgeprune.deploy.table.latency_model import LatencyModel
from edgeprune.deploy.table.network import Block, Network
from edgeprune.deploy.table.records import (
    Conditions,
    Origin,
    Table,
    TimedNetworks,
    conditions_of,
    origin_of,
    rounded,
)
from edgeprune.deploy.table.stopwatch import Pace, Times, machine_of, time_units
from edgeprune.deploy.table.units import variants
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.progress import Progress, renamed, silent
from edgeprune.target import TargetProfile
from edgeprune.text import digest

FITTED = 16  # networks that the fit sees
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
        rebuild: Measure everything again, whatever a table on disk says.
        progress: Called with what is being measured, and how far it is.
    """

    device: Device = field(default_factory=Local)
    units: Pace = field(default_factory=Pace)
    networks: Pace = field(default_factory=lambda: Pace(together=8, rounds=4, least=5, most=7))
    held_out: int = HELD_OUT
    rebuild: bool = False
    progress: Progress = silent


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """What probing found, for printing.

    Attributes:
        path: The table on disk.
        conditions: Machine, versions and runtime settings.
        origin: Device and day; None where a table of an earlier version says neither.
        grid: Widths the device rewards.
        costs: What widths 1..n cost in times of width n, by role; empty for a pinned grid.
        timed_now: Units timed by this call; the others were on disk.
        doubtful: Units timed by this call while the machine was too busy to time them well.
        model: Latency model; ``model.fit`` holds the held-out errors.
        dropped: Reason why the table in the user's cache no longer held; empty where it did.
    """

    path: Path
    conditions: Conditions
    origin: Origin | None
    grid: tuple[int, ...]
    costs: dict[str, tuple[float, ...]]
    timed_now: int
    doubtful: int
    model: LatencyModel
    dropped: str = ""


def probe(network: Network, profile: TargetProfile, options: Probe | None = None) -> ProbeReport:
    """Measure what the table of this device lacks for a network, write it, and say what came out.

    Raises:
        InputError: the table in ./calibration is stale or damaged; the line says how to rebuild.
        MachineError: the device cannot be reached or cannot measure, or the disk is full.
    """
    options = options or Probe()
    if profile.runtime.optimisation == "disable":
        raise InputError(
            "blocks cannot be timed with runtime.optimisation = 'disable'; take 'basic' or more"
        )
    setting = Setting(runtime=profile.runtime, device=options.device, clock=profile.measure.clock)
    machine = machine_of(setting)
    scheme = None
    if profile.precision.mode == "int8":
        scheme = scheme_for(machine, profile.precision.scheme)
    conditions = conditions_of(setting, machine, scheme)
    known, path, dropped = Table(conditions=conditions), None, ""
    if not options.rebuild:
        known, path, dropped = storage.known(profile.name, conditions, options.device.uri)
    bench = _Bench(setting, options, scheme)
    origin = origin_of(profile.name, machine)
    pinned = profile.channels.grid
    table = known if pinned != "probe" or known.grid else bench.with_grid(known)
    afresh = options.rebuild or bool(dropped)
    if table is not known and not options.rebuild:  # that one replaces the old when it is whole
        # Of two probes at once both go on with the grid that was written first: units and
        # networks hold for the grid they were chosen on.
        path = storage.write(
            table.model_copy(update={"origin": origin}), profile.name, afresh=afresh
        )
        afresh, known = False, storage.read(path)
        table = known
    grid = table.grid if pinned == "probe" else tuple(sorted(set(pinned)))
    table = bench.with_networks(bench.with_units(table, network, grid), network, grid)
    if path is None or table is not known:
        table = table.model_copy(update={"origin": origin})
        path = storage.write(table, profile.name, afresh=afresh)
    return ProbeReport(
        path=path,
        conditions=conditions,
        origin=table.origin,
        grid=grid,
        costs=dict(table.costs) if pinned == "probe" else {},
        timed_now=bench.timed,
        doubtful=bench.doubtful,
        model=model_of(table, network, grid),
        dropped=dropped,
    )


def network_id(network: Network, grid: Sequence[int]) -> str:
    """Identity of a search space: the same blocks, wired alike, on the same grid."""
    blocks = [(block.signature, block.groups) for block in network.blocks]
    shapes = (network.full, network.branches, network.input_shape, network.owned)
    return digest(repr((blocks, *shapes, tuple(grid))))


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


def model_of(table: Table, network: Network, grid: tuple[int, ...]) -> LatencyModel:
    """The latency model of a network from what a table holds.

    Raises:
        KeyError: the table lacks a unit, or the network itself.
    """
    identity = network_id(network, grid)
    blocks = variants(network, grid)
    needed = {key for families in blocks for family in families for key in family.units()}
    part = table.model_copy(
        update={
            "units": {key: table.units[key] for key in sorted(needed)},
            "networks": {identity: table.networks[identity]},
        }
    )
    surfaces = {family.identity: family for families in blocks for family in families}
    learnt = {key: family.pieces(part.units) for key, family in surfaces.items()}
    paired = [[(family, learnt[family.identity]) for family in families] for families in blocks]
    return fitted(network, grid, paired, part)


class _Bench:
    """Measures what a table lacks, and counts what it timed."""

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
        models = [assemble(block, batch=network.batch) for block in lacking.values()]
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
        identity = network_id(network, grid)
        known = table.networks.get(identity)
        if known and len(known.held_out) >= self.options.held_out:
            return table
        drawn = draw(network, grid, FITTED - 2 + self.options.held_out, seed=0)
        every = (network.full, smallest(network, grid), *drawn)
        models = [assemble(network.at(widths), batch=network.batch) for widths in every]
        times = self._time(models, "whole networks", self.options.networks)
        timed = tuple(zip(every, map(rounded, times.hot), strict=True))
        record = TimedNetworks(
            reference_ms=rounded(times.reference_ms),
            fitted=timed[:FITTED],
            held_out=timed[FITTED:],
        )
        return table.model_copy(update={"networks": {**table.networks, identity: record}})

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
