"""Sets up the context of one run: images, dense model, measured latency table and problem."""

from dataclasses import replace
from typing import Any

from edgeprune.deploy.devices.device import Device, connect
from edgeprune.deploy.table.latency_model import Predictor
from edgeprune.errors import InputError
from edgeprune.export.int8 import Int8, int8_for
from edgeprune.files import write_whole
from edgeprune.progress import Progress
from edgeprune.prune.images import calibration_set, image_list
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space import widths
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.selection import LeftWhole, left_whole
from edgeprune.prune.tracing.trace import Trace
from edgeprune.run import latency
from edgeprune.run.basis import Shared
from edgeprune.run.context import RunContext
from edgeprune.run.elsewhere import Crew, Elsewhere
from edgeprune.run.folder import RunFolder
from edgeprune.run.portable import portable
from edgeprune.run.request import Request
from edgeprune.run.time_budget import TimeBudget
from edgeprune.text import digest

CALIBRATION = "calibration.json"
SPLIT = "images.csv"


def set_up(
    request: Request,
    folder: RunFolder,
    progress: Progress,
    time: TimeBudget | None = None,
    crew: Crew | None = None,
    shared: Shared | None = None,
) -> RunContext:
    """Load the images and the dense model, and measure what the latency table lacks.

    Args:
        request: What is wanted.
        folder: The run folder.
        progress: Called as each step goes on.
        time: What is left of the time budget; unlimited by default.
        crew: Other processes, which do the heavy work in place of this one.
        shared: What was passed in Python, and what searches for other targets have found out.

    Raises:
        InputError: images and model do not fit, or nothing of the model can be pruned.
        MachineError: the device cannot measure.
    """
    time, shared = time or TimeBudget(), shared or Shared()
    device = connect(request.device)
    table = latency.carried_for(request, device)
    basis = shared.basis(request, progress)
    images, origin, traced, export = basis.images, basis.origin, basis.trace, basis.export
    found = {"origin": origin.origin, "recognised": origin.recognised}
    figure = f"val_{basis.task.figure.name.replace(' ', '_')}"
    folder.event("baseline", **found, **{figure: origin.figure})
    folder.record(baseline_saw_validation=origin.seen_validation)
    if images.splits and images.splits.told:
        folder.record(split=images.splits.told)
        if images.splits.drawn:
            write_whole(folder.path / SPLIT, image_list.as_text(images.splits).encode())
    whole = left_whole(traced, request.selection)
    if request.selection:
        folder.record(left_whole=dict(whole.groups), not_dropped=dict(whole.branches))
    if request.target.precision.mode == "int8" and len(basis.dense.proto.graph.output) > 1:
        raise InputError(
            f"{basis.spec.name} has several outputs, and int8 is proven by one alone; search it "
            "with --precision fp32"
        )
    int8 = _int8(request, device, images, folder)
    predicted, stand_in = latency.table(export, request, table, device, folder, progress)
    known = predicted, stand_in
    timing = latency.timing(request, device, basis.dense, export, int8, known)
    elsewhere = None
    if crew:
        sent = portable(traced, images, basis.spec, request.source, request.task)
        elsewhere = Elsewhere(crew, images, sent)
    problem = pose(
        traced,
        predicted,
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
        model=basis.spec.name,
        dense_latency=latency.dense_latency(timing, basis.dense.model, int8, folder),
        elsewhere=elsewhere.answers if elsewhere else None,
        as_deployed=(lambda network: int8.network(export(network))) if int8 else None,
        deployed_as=_deployed_as(int8) if int8 else "",
        statistics=lambda: shared.curvature(request, basis, elsewhere),
        others=shared.files(request),
        known=shared.networks(request, traced),
        task=basis.task,
    )
    return RunContext(
        request=request,
        folder=folder,
        progress=progress,
        device=device,
        basis=basis,
        latency=predicted,
        stand_in=stand_in,
        timing=timing,
        problem=problem,
        int8=int8,
        elsewhere=elsewhere,
        time=time,
        beside=tuple(shared.earlier),
    )


def pose(
    traced: Trace,
    latency: Predictor,
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
    near = quantiser.parity.sqnr_db, quantiser.parity.agreement
    return digest(repr((*parts, quantiser.scheme, *near, int8.calibration.sha256)))
