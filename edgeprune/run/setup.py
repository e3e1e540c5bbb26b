"""Sets up the context of one run: images, dense model, measured latency table and problem."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.deploy.devices.device import Device, connect
from edgeprune.deploy.precision.trials import Aim
from edgeprune.deploy.table.latency_model import LatencyModel
from edgeprune.deploy.table.stand_in import StandIn
from edgeprune.deploy.table.whole_networks import WholeNetworks
from edgeprune.errors import InputError
from edgeprune.export.exported import Exported
from edgeprune.export.exporter import check_answer
from edgeprune.export.int8 import Int8, Int8Model, int8_for
from edgeprune.export.sealed_file import sample_pixels
from edgeprune.export.slim_export import SlimExport, slim_export
from edgeprune.files import write_whole
from edgeprune.progress import Progress
from edgeprune.prune.images import calibration_set, datasets, image_list
from edgeprune.prune.images.datasets import DataSet, resize_rule
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Answers
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.dense import DenseModel, dense_record, given, obtain
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.run import latency
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import Timing
from edgeprune.run.portable import Portable, portable
from edgeprune.run.request import Passed, Request
from edgeprune.run.time_budget import TimeBudget

Serve = Callable[[Portable], Answers]
CALIBRATION = "calibration.json"
SPLIT = "images.csv"


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """All that the steps of one run share.

    Attributes:
        request: What is wanted.
        folder: The run folder.
        progress: Called as each step goes on.
        device: Where the table, the candidates and the result are measured.
        images: Train, validation and test images.
        origin: Where the dense model came from and what it scores.
        dense: The dense model with its shortcuts rewritten, and as exported.
        export: From the dense network or a slim one to its ONNX model.
        latency: Predicted latency of any widths, by the measured table.
        stand_in: Whose table that is.
        timing: How candidates are measured against the dense model, as ``edgeprune check`` does.
        problem: What strategies look at.
        int8: How networks become int8; None where the target runs fp32.
        time: What is left of the time budget.
    """

    request: Request
    folder: RunFolder
    progress: Progress
    device: Device
    images: DataSet
    origin: DenseModel
    dense: Exported
    export: SlimExport
    latency: LatencyModel | WholeNetworks
    stand_in: StandIn
    timing: Timing
    problem: Problem
    int8: Int8 | None = None
    time: TimeBudget = field(default_factory=TimeBudget)

    @cached_property
    def dense_int8(self) -> Int8Model | None:
        """The dense model in int8, the control of every int8 result; None in fp32."""
        if self.int8 is None:
            return None
        return self.int8.proven(self.int8.recovered(self.dense.proto, self.aim(self.int8)))

    def aim(self, int8: Int8) -> Aim:
        """When an int8 network of this run has won back enough: on validation images."""
        allowed = self.request.budget.accuracy_drop
        return int8.aim(self.origin.accuracy, self.images.val, allowed, self.timing.setting)

    @cached_property
    def counts(self) -> CostModel:
        """Exact MACs and parameters of widths."""
        return CostModel(self.problem.trace)

    @cached_property
    def basis(self) -> str:
        """Digest of the images and the dense weights: what an unfinished run rests on."""
        found = hashlib.sha256(self.images.fingerprint.encode())
        for name, tensor in self.dense.model.state_dict().items():
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    @property
    def passed_module(self) -> nn.Module | None:
        """A copy of the module that was passed in Python; None where a name builds it."""
        return self.origin.model if self.request.model.is_instance else None

    @cached_property
    def dense_right(self) -> Tensor:
        """The dense model's :meth:`test_right`; the images are read when it is first asked for."""
        return self.test_right(self.dense.model)

    def test_right(self, network: nn.Module) -> Tensor:
        """Which test images a network gets right, (N,) of bool; nothing may be decided by it."""
        return evaluate(network, self.images.test).right

    @property
    def record(self) -> Checkpoint:
        """What is known of the dense model, for its file and for that of the slim one."""
        history = {
            "target": self.request.target.model_dump(mode="json", by_alias=True),
            "data": self.images.name,
            "resize": resize_rule(self.request.source, self.images.input_shape[1:]),
            "baseline": self.origin.origin,
            "baseline_saw_validation": self.origin.seen_validation,
        }
        record = dense_record(self.request.model, self.images, self.dense.model)
        return replace(record, history=history, images=sample_pixels(self.images))


def set_up(
    request: Request,
    folder: RunFolder,
    progress: Progress,
    time: TimeBudget | None = None,
    passed: Passed | None = None,
    serve: Serve | None = None,
) -> RunContext:
    """Load the images and the dense model, and measure what the latency table lacks.

    Args:
        request: What is wanted.
        folder: The run folder.
        progress: Called as each step goes on.
        time: What is left of the time budget; unlimited by default.
        passed: A module, images or both in place of those that the request names.
        serve: Makes what computes scores in place of this process.

    Raises:
        InputError: images and model do not fit, or nothing of the model can be pruned.
        MachineError: the device cannot measure.
    """
    time, passed = time or TimeBudget(), passed or Passed()
    device = connect(request.device)
    source = latency.carried_for(request, device)
    images = passed.images or datasets.load(
        request.source, size=request.size, normalisation=request.normalisation, progress=progress
    )
    spec = replace(request.model, num_classes=len(images.classes))
    if passed.module is not None:
        origin = given(passed.module, spec, images)
    else:
        weights, new_head = request.weights, request.new_head
        origin = obtain(spec, images, weights, request.baseline, progress, new_head=new_head)
    found = {"origin": origin.origin, "recognised": origin.recognised}
    folder.event("baseline", **found, val_accuracy=origin.accuracy)
    folder.record(baseline_saw_validation=origin.seen_validation)
    if images.splits and images.splits.told:
        folder.record(split=images.splits.told)
        if images.splits.drawn:
            write_whole(folder.path / SPLIT, image_list.as_text(images.splits).encode())
    dense = rewrite_shortcuts(origin.model).eval()
    traced = proven(dense, torch.zeros(1, *images.input_shape))
    if not traced.groups:
        reason = traced.unfollowed[0].reason if traced.unfollowed else "no channel is free"
        raise InputError(f"nothing of {spec.name} can be pruned: {reason}")
    check_answer(dense, torch.zeros(1, *images.input_shape))
    export = slim_export(traced)
    exported = Exported(dense, export(dense))
    int8 = _int8(request, device, images, folder)
    predicted, stand_in = latency.table(export, request, source, device, folder, progress)
    timing = latency.timing(request, device, exported, export, int8, (predicted, stand_in))
    problem = pose(
        traced,
        predicted,
        images,
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
        dense_latency=latency.dense_latency(timing, dense, int8, folder),
        elsewhere=(lambda posed: serve(portable(posed, spec, request.source))) if serve else None,
        as_deployed=(lambda network: int8.network(export(network))) if int8 else None,
    )
    return RunContext(
        request=request,
        folder=folder,
        progress=progress,
        device=device,
        images=images,
        origin=origin,
        dense=exported,
        export=export,
        latency=predicted,
        stand_in=stand_in,
        timing=timing,
        problem=problem,
        int8=int8,
        time=time,
    )


def pose(
    traced: Trace,
    latency: LatencyModel | WholeNetworks,
    images: DataSet,
    *,
    dense_latency: float = 1.0,
    **options: Any,
) -> Problem:
    """The problem of pruning a network: widths of the device's grid, costs by its table.

    Test images are never looked at. ``dense_latency`` is as in :class:`Costs`, ``options`` are
    further fields of :class:`Problem`.
    """
    space, counts = build(traced.groups, latency.grid), CostModel(traced)
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
