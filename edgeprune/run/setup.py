"""Sets up the context of one run: images, dense model, measured latency table and problem."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from edgeprune.deploy.devices.device import Device, connect
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.table.latency_model import LatencyModel
from edgeprune.deploy.table.probe import Probe, probe
from edgeprune.export import blocks
from edgeprune.export.exported import Exported
from edgeprune.export.int8 import Int8, int8_for
from edgeprune.files import write_whole
from edgeprune.progress import Progress
from edgeprune.prune.images import calibration_set, image_list
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Answers
from edgeprune.prune.space import widths
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.selection import LeftWhole, left_whole
from edgeprune.prune.tracing.trace import Trace
from edgeprune.run.basis import Shared
from edgeprune.run.context import RunContext
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import PairedTiming
from edgeprune.run.portable import Portable, portable
from edgeprune.run.request import Request
from edgeprune.run.time_budget import TimeBudget
from edgeprune.text import digest

Serve = Callable[[Portable], Answers]
CALIBRATION = "calibration.json"
SPLIT = "images.csv"


def set_up(
    request: Request,
    folder: RunFolder,
    progress: Progress,
    time: TimeBudget | None = None,
    serve: Serve | None = None,
    shared: Shared | None = None,
) -> RunContext:
    """Load the images and the dense model, and measure what the latency table lacks.

    Args:
        request: What is wanted.
        folder: The run folder.
        progress: Called as each step goes on.
        time: What is left of the time budget; unlimited by default.
        serve: Makes what computes scores in place of this process.
        shared: What was passed in Python, and what searches for other targets have found out.

    Raises:
        InputError: images and model do not fit, or nothing of the model can be pruned.
        MachineError: the device cannot measure.
    """
    time, shared = time or TimeBudget(), shared or Shared()
    basis = shared.basis(request, progress)
    images, origin, traced = basis.images, basis.origin, basis.trace
    found = {"origin": origin.origin, "recognised": origin.recognised}
    folder.event("baseline", **found, val_accuracy=origin.accuracy)
    folder.record(baseline_saw_validation=origin.seen_validation)
    whole = left_whole(traced, request.selection)
    if request.selection:
        folder.record(left_whole=dict(whole.groups), not_dropped=dict(whole.branches))
    if images.splits and images.splits.told:
        folder.record(split=images.splits.told)
        if images.splits.drawn:
            write_whole(folder.path / SPLIT, image_list.as_text(images.splits).encode())
    device = connect(request.device)
    int8 = _int8(request, device, images, folder)
    latency = _latency(traced, request, device, folder, progress)
    timing = _timing(request, device, basis.dense, images, int8)
    elsewhere, spec, source = None, basis.spec, request.source
    if serve:
        elsewhere = partial(_elsewhere, serve, spec, source)
    problem = pose(
        traced,
        latency,
        images,
        whole,
        settings=request.search,
        effort=replace(request.effort, recipe=request.recovery),
        wavelet=request.wavelet,
        fold=request.compensate != "none",
        genome=request.genome,
        folder=folder.search(),
        progress=progress,
        left=time.search_left,
        left_to_choose=time.choosing_left,
        model=spec.name,
        dense_latency=_dense_latency(timing, basis.dense.model, int8, folder),
        elsewhere=elsewhere,
        as_deployed=partial(int8.network, shape=images.input_shape) if int8 else None,
        deployed_as=_deployed_as(int8) if int8 else "",
        statistics=lambda: basis.curvature,
        others=shared.files(request),
        known=shared.networks(request, traced),
    )
    return RunContext(
        request=request,
        folder=folder,
        progress=progress,
        device=device,
        basis=basis,
        latency=latency,
        timing=timing,
        problem=problem,
        int8=int8,
        time=time,
        beside=tuple(shared.earlier),
    )


def _elsewhere(serve: Serve, spec: ModelSpec, source: str, problem: Problem) -> Answers:
    return serve(portable(problem, spec, source))


def pose(
    traced: Trace,
    latency: LatencyModel,
    images: DataSet,
    whole: LeftWhole | None = None,
    *,
    dense_latency: float = 1.0,
    **options: Any,
) -> Problem:
    """The problem of pruning a network: widths of the device's grid, costs by its table.

    Test images are never looked at. ``whole`` is what its user left whole, ``dense_latency`` as
    in :class:`Costs`, ``options`` are further fields of :class:`Problem`.
    """
    space, counts = widths.build(traced.groups, latency.grid, whole), CostModel(traced)
    costs = Costs(space.full, (latency.predict, counts.macs, counts.params), dense_latency)
    return Problem(
        trace=traced,
        space=space,
        costs=costs,
        images=images,
        latency_error=latency.error,
        **options,
    )


def _int8(request: Request, device: Device, images: DataSet, folder: RunFolder) -> Int8 | None:
    """How networks become int8, on training images whose list the run folder keeps."""
    precision = request.target.precision
    if precision.mode != "int8":
        return None
    calibration = calibration_set.drawn(images, precision.calibration_images, request.search.seed)
    write_whole(folder.path / CALIBRATION, calibration[0].to_json())
    return int8_for(request.target, device, calibration)


def _deployed_as(int8: Int8) -> str:
    """Digest of all that a quantised network depends on beside its float one."""
    target, quantiser = int8.target, int8.quantiser
    parts = target.precision.model_dump_json(), target.runtime.model_dump_json()
    return digest(repr((*parts, quantiser.scheme, quantiser.sqnr_db, int8.calibration.sha256)))


def _timing(
    request: Request, device: Device, dense: Exported, images: DataSet, int8: Int8 | None
) -> PairedTiming:
    setting = Options(device=device).setting(request.target)
    timing = PairedTiming(dense.proto.SerializeToString(), setting, (1, *images.input_shape))
    return replace(timing, deployed=int8.quick) if int8 else timing


def _dense_latency(
    timing: PairedTiming, dense: nn.Module, int8: Int8 | None, folder: RunFolder
) -> float:
    """What int8 alone gains: measured once a run, as every prediction is multiplied by it."""
    if int8 is None:
        return 1.0
    known = folder.read().get("dense_int8_latency")
    if isinstance(known, list) and len(known) == 3:
        return float(known[1])
    measured = timing.ratio(dense, None)
    folder.record(dense_int8_latency=list(measured))
    return measured.mid


def _latency(
    traced: Trace, request: Request, device: Device, folder: RunFolder, progress: Progress
) -> LatencyModel:
    """The measured table of this device; what it lacks is measured now and kept."""
    options = Probe(device=device, progress=progress)
    model = probe(blocks.to_network(traced), request.target, options).model
    write_whole(folder.path / "latency.json", model.document)
    folder.event("latency table", sha256=model.sha256, error=model.error, grid=model.grid)
    return model
