"""Probes a device: times what the latency table of a search space lacks and builds its model.

The time of a network is a sum over its fused blocks, ``latency = a * sum + b``. Each block is
timed behind a small convolution and that convolution alone is taken off, so what lies between
blocks (a change of layout, the overhead of a run) cancels along the chain; ``a`` and ``b`` come
from whole networks of the search space, and other such networks say how well it predicts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeprune.arrays import Floats, Ints
from edgeprune.deploy.precision.scheme import scheme_for
from edgeprune.deploy.table import storage
from edgeprune.deploy.table.bench import Bench, Probe, network_id, whole_id
from edgeprune.deploy.table.fitting import fitted
from edgeprune.deploy.table.latency_model import LatencyModel, Predictor
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.records import Conditions, Origin, Table, conditions_of, origin_of
from edgeprune.deploy.table.stopwatch import machine_of
from edgeprune.deploy.table.units import variants
from edgeprune.deploy.table.whole_networks import WholeNetworks, learnt
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.target import TargetProfile

MOST_ERROR = 0.04  # mean, on networks held out; beyond it whole networks are timed instead


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
        model: What predicts latency; ``model.fit`` holds the held-out errors.
        dropped: Reason why the table in the user's cache no longer held; empty where it did.
    """

    path: Path
    conditions: Conditions
    origin: Origin | None
    grid: tuple[int, ...]
    costs: dict[str, tuple[float, ...]]
    timed_now: int
    doubtful: int
    model: Predictor
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
    bench = Bench(setting, options, scheme)
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
    table, model = _measured(bench, table, network, grid)
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
        model=model,
        dropped=dropped,
    )


def _measured(
    bench: Bench, table: Table, network: Network, grid: tuple[int, ...]
) -> tuple[Table, Predictor]:
    """The table with all that predicts a network: its blocks, or whole ones if that is better."""
    if network.blocks:
        table = bench.with_networks(bench.with_units(table, network, grid), network, grid)
        model = model_of(table, network, grid)
        if model.error <= MOST_ERROR:
            return table, model
    else:
        model = None
    table = bench.with_more_networks(table, network, grid)
    return table, _better(model, table, network, grid, bench.options)


def known_model(
    table: Table, network: Network, grid: tuple[int, ...], options: Probe
) -> Predictor:
    """The model that :func:`probe` would end with, where a table lacks nothing for it.

    Raises:
        KeyError: it lacks something.
    """
    model = model_of(table, network, grid) if network.blocks else None
    if model and model.error <= MOST_ERROR:
        return model
    return _better(model, table, network, grid, options)


def _better(
    model: LatencyModel | None,
    table: Table,
    network: Network,
    grid: tuple[int, ...],
    options: Probe,
) -> Predictor:
    """Blocks that do not add up, or whole networks, whichever is nearer on those held out."""
    reason = f"its blocks add up to {model.error:.1%} off" if model else options.uncut
    whole = whole_of(table, network, grid, reason, options.work)
    return model if model and model.error <= whole.error else whole


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


def whole_of(
    table: Table,
    network: Network,
    grid: tuple[int, ...],
    reason: str,
    work: Callable[[Ints], Floats | Ints],
) -> WholeNetworks:
    """What a table knows of whole networks, see :func:`learnt`.

    Raises:
        KeyError: the table holds no such networks.
    """
    identity = whole_id(network, grid)
    part = table.model_copy(update={"units": {}, "networks": {identity: table.networks[identity]}})
    return learnt(network, grid, part, reason, work)
