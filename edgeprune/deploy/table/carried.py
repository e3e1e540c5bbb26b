"""Carried latency tables: measured on a device elsewhere, checked, kept and found here.

They lie in a folder of their own, ``latency/TARGET/carried``: a table that this machine measured
for a stand-in must not be taken for the device's by another machine that shares the folder.
"""

from dataclasses import dataclass
from pathlib import Path

from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.precision.scheme import scheme_for
from edgeprune.deploy.table import probe, storage
from edgeprune.deploy.table.bench import Probe
from edgeprune.deploy.table.latency_model import Predictor
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.records import Conditions, Origin, Table, conditions_of
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.target import TargetProfile, load_target


@dataclass(frozen=True)
class Carried:
    """A table of a device elsewhere that fits a target.

    Attributes:
        path: Where it lies.
        table: Its times.
        origin: Device and day.
    """

    path: Path
    table: Table
    origin: Origin


def add(path: Path, target: str | None = None) -> tuple[Carried, TargetProfile]:
    """Keep a table for searches without its device.

    Args:
        path: The file, as ``edgeprune probe`` wrote it on or for the device.
        target: Name or path of the target; the table's own by default.

    Raises:
        InputError: it is no such file, or does not fit the target; the line says what differs.
        MachineError: the disk does not take it.
    """
    table = storage.read(path)
    profile = load_target(target or _origin(table, path).target)
    origin = _fitting(table, profile, path)
    return Carried(storage.keep(table, profile.name), table, origin), profile


def find(profile: TargetProfile) -> tuple[Carried | None, str]:
    """The table carried from a device for a target, and why none is, where one was added.

    The nearest folder counts (./calibration, the user's cache, what came with edgeprune), and in
    it the table that was measured last.

    Raises:
        InputError: a file in the user's own folder is damaged.
    """
    reasons = []
    for root in storage.roots():
        found = []
        for path in sorted((root / "latency" / profile.name / storage.CARRIED).glob("*.json")):
            table = storage.read(path)
            try:
                found.append(Carried(path, table, _fitting(table, profile, path)))
            except InputError as error:
                reasons.append(str(error))
        if found:
            return max(found, key=lambda each: each.origin.measured), ""
    return None, reasons[0] if reasons else ""


def model_of(
    found: Carried, network: Network, profile: TargetProfile, name: str, options: Probe
) -> Predictor:
    """The latency model of a network from a carried table alone.

    Args:
        found: The table.
        network: The network as blocks.
        profile: The target.
        name: Name of the network, for the message.
        options: How whole networks would be timed where blocks do not add up.

    Raises:
        InputError: the table does not know this network, and the device is not here to be asked.
    """
    pinned = profile.channels.grid
    grid = found.table.grid if pinned == "probe" else tuple(sorted(set(pinned)))
    try:
        if grid:
            return probe.known_model(found.table, network, grid, options)
    except KeyError:
        pass
    raise InputError(
        f"the table carried from {found.origin.device} does not know {name} at this input and "
        f"grid; `edgeprune probe --target {profile.name} --model {name}` on the device adds it, "
        "or --device local:// takes this machine's"
    )


def _origin(table: Table, path: Path) -> Origin:
    if table.origin is None:
        raise InputError(
            f"{path} names no device and no day: an earlier version measured it; measure it again "
            "there with `edgeprune probe --rebuild`"
        )
    return table.origin


def _fitting(table: Table, profile: TargetProfile, path: Path) -> Origin:
    """The origin of a table whose times hold for a target.

    Raises:
        InputError: they do not; the first thing that differs is named.
    """
    origin, there = _origin(table, path), table.conditions
    name, facts = profile.name, origin.machine.model_dump()
    if identify(facts) != there.machine:
        raise InputError(
            f"{path} has the fingerprint {there.machine}, the machine that it names has "
            f"{identify(facts)}: it was changed by hand; measure it again"
        )
    if origin.machine.cpu.startswith("emulated "):
        raise InputError(f"{path} is of an emulated core, whose time says nothing of a device")
    wanted = profile.budget.absolute.fingerprint
    if wanted not in (None, there.machine):
        raise InputError(
            f"{path} is of {there.machine}, target {name} names the device {wanted} "
            "(budget.absolute.fingerprint)"
        )
    for key, value in _expected(profile, origin).model_dump().items():
        found = getattr(there, key)
        if found != value and key == "onnxruntime":
            raise InputError(
                f"{path} was measured with onnxruntime {found}, here is {value}: a table holds "
                f"for one version; install onnxruntime=={found}, or measure it again"
            )
        if found != value:
            raise InputError(
                f"{path} does not fit target {name}: measured with {key} {found}, the target has "
                f"{value}; `edgeprune probe --target {name}` on the device measures one that does"
            )
    if not any(networks.held_out for networks in table.networks.values()):
        raise InputError(
            f"{path} holds no network that judges it; `edgeprune probe --target {name}` on the "
            "device adds them"
        )
    return origin


def _expected(profile: TargetProfile, origin: Origin) -> Conditions:
    """What a table of this device has to be measured with, to hold for a target here."""
    import onnxruntime

    facts = origin.machine.model_dump() | {"onnxruntime": onnxruntime.__version__}
    scheme = None
    if profile.precision.mode == "int8":
        scheme = scheme_for(facts, profile.precision.scheme)
    setting = Setting(runtime=profile.runtime, clock=profile.measure.clock)
    return conditions_of(setting, facts, scheme)
