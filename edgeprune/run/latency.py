"""Sets up how a run knows latency: whose table predicts it, and how candidates are timed."""

from dataclasses import replace

import numpy as np
from torch import nn

from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.table import carried
from edgeprune.deploy.table.bench import Probe
from edgeprune.deploy.table.carried import Carried
from edgeprune.deploy.table.latency_model import Predictor
from edgeprune.deploy.table.probe import probe
from edgeprune.deploy.table.stand_in import StandIn, kind_of, stand_in
from edgeprune.deploy.table.stopwatch import machine_of
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.export.exported import Exported
from edgeprune.export.inspection import with_whole
from edgeprune.export.int8 import Int8
from edgeprune.export.slim_export import SlimExport
from edgeprune.files import write_whole
from edgeprune.progress import Progress
from edgeprune.run.folder import RunFolder
from edgeprune.run.known_grid import of_search
from edgeprune.run.measured_search import PairedTiming, Timing, Untimed
from edgeprune.run.request import Request

KNOWN = "stand_in"  # key of run.json
NEEDS_DEVICE = (
    "ratios of an int8 search are to the dense model in fp32, and only the device can time both: "
    "name it with --device, or take this machine's table with --device local://"
)


def carried_for(request: Request, device: Device) -> tuple[Carried | None, str]:
    """The carried table that a run takes, and why one that is there is not taken.

    Raises:
        InputError: a table is damaged, or the search is in int8, which no carried table serves.
        MachineError: this machine cannot say what it is.
    """
    found, passed_over = carried.find(request.target) if request.carried else (None, "")
    if found is None or found.table.conditions.machine == _fingerprint(request, device):
        return None, passed_over
    if request.target.precision.mode == "int8":
        raise InputError(NEEDS_DEVICE)
    return found, ""


def table(
    export: SlimExport,
    request: Request,
    source: tuple[Carried | None, str],
    device: Device,
    folder: RunFolder,
    progress: Progress,
) -> tuple[Predictor, StandIn]:
    """The latency model of a run and whose table it is made of; what lacks is measured now.

    Args:
        export: Exports the network and those slimmed from it.
        request: What is wanted.
        source: What :func:`carried_for` found.
        device: Where the table is measured, where none was carried.
        folder: The run folder.
        progress: Called as each step goes on.

    Raises:
        InputError: a carried table does not know the network, or this run was begun with another.
        MachineError: the device cannot measure.
    """
    found, passed_over = source
    options = with_whole(export, Probe(device=device, progress=progress))
    if found:
        name = request.model.name
        model = carried.model_of(found, export.network(), request.target, name, options)
        known = stand_in("carried", model, found.table.conditions, found.origin)
    else:
        report = probe(export.network(), request.target, options)
        model, conditions = report.model, report.conditions
        kind = kind_of(request.target, request.device, conditions.machine)
        stands_for = (request.target.proxy_for or "") if kind == "this machine" else ""
        known = stand_in(kind, model, conditions, report.origin)
        known = replace(known, stands_for=stands_for, passed_over=passed_over)
    grid = of_search(request.target, known.kind, model.grid)
    known = replace(known, grid_known=grid.describe())
    _refuse_another(folder, known)
    write_whole(folder.path / "latency.json", model.document)
    folder.record(**{KNOWN: known.to_plain()})
    what = {"sha256": model.sha256, "error": model.error, "grid": model.grid}
    folder.event("latency table", **what, of=known.kind, predicted_from=model.source)
    return model, known


def _fingerprint(request: Request, device: Device) -> str:
    return identify(machine_of(Setting(runtime=request.target.runtime, device=device)))


def _refuse_another(folder: RunFolder, now: StandIn) -> None:
    """An unfinished run goes on with the device whose table it was begun with."""
    before = folder.read().get(KNOWN)
    if isinstance(before, dict) and before.get("machine") != now.machine:
        raise InputError(
            f"{folder.path} holds a run on the latency table of {before.get('machine')}, now it "
            f"would be that of {now.machine}; name another folder"
        )


def timing(
    request: Request,
    device: Device,
    dense: Exported,
    export: SlimExport,
    int8: Int8 | None,
    known: tuple[Predictor, StandIn],
) -> Timing:
    """How candidates are timed: on the device, or not at all where only its table is here."""
    setting = Options(device=device).setting(request.target)
    model, whose = known
    if whose.kind == "carried":
        full = np.array([model.network.full])  # (1, G)
        return Untimed(setting, float(model.predict(full)[0]), whose.machine)
    made = PairedTiming(dense.proto.SerializeToString(), setting, export)
    return replace(made, deployed=int8.quick) if int8 else made


def dense_latency(made: Timing, dense: nn.Module, int8: Int8 | None, folder: RunFolder) -> float:
    """What int8 alone gains: measured once a run, as every prediction is multiplied by it."""
    if int8 is None:
        return 1.0
    known = folder.read().get("dense_int8_latency")
    if isinstance(known, list) and len(known) == 3:
        return float(known[1])
    measured = made.ratio(dense, None)
    if measured is None:  # refused before: no carried table serves int8
        raise InputError(NEEDS_DEVICE)
    folder.record(dense_int8_latency=list(measured))
    return measured.mid
