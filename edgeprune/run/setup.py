"""Sets up the context of one run: images, dense model, measured latency table and problem."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.deploy.devices.device import Device, connect
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.table.latency_model import LatencyModel
from edgeprune.deploy.table.probe import Probe, probe
from edgeprune.errors import InputError
from edgeprune.export import blocks
from edgeprune.export.exporter import to_onnx
from edgeprune.export.sealed_file import Exported, sample_pixels
from edgeprune.files import write_whole
from edgeprune.progress import Progress
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet, resize_rule
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.dense import DenseModel, dense_record, obtain
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import PairedTiming
from edgeprune.run.request import Request
from edgeprune.run.time_budget import TimeBudget


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
        latency: Predicted latency of any widths, by the measured table.
        problem: What strategies look at.
        time: What is left of the time budget.
    """

    request: Request
    folder: RunFolder
    progress: Progress
    device: Device
    images: DataSet
    origin: DenseModel
    dense: Exported
    latency: LatencyModel
    problem: Problem
    time: TimeBudget = field(default_factory=TimeBudget)

    @cached_property
    def timing(self) -> PairedTiming:
        """How candidates are measured against the dense model, as ``edgeprune check`` does."""
        setting = Options(device=self.device).setting(self.request.target)
        shape = (1, *self.images.input_shape)
        return PairedTiming(self.dense.proto.SerializeToString(), setting, shape)

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
            "resize": resize_rule(self.request.source, self.images.size),
            "baseline": self.origin.origin,
            "baseline_saw_validation": self.origin.seen_validation,
        }
        record = dense_record(self.request.model, self.images, self.dense.model)
        return replace(record, history=history, images=sample_pixels(self.images))


def set_up(
    request: Request, folder: RunFolder, progress: Progress, time: TimeBudget | None = None
) -> RunContext:
    """Load the images and the dense model, and measure what the latency table lacks.

    Raises:
        InputError: images and model do not fit, or nothing of the model can be pruned.
        MachineError: the device cannot measure.
    """
    time = time or TimeBudget()
    images = datasets.load(
        request.source, size=request.size, normalisation=request.normalisation, progress=progress
    )
    spec = replace(request.model, num_classes=len(images.classes))
    weights, new_head = request.weights, request.new_head
    origin = obtain(spec, images, weights, request.baseline, progress, new_head=new_head)
    found = {"origin": origin.origin, "recognised": origin.recognised}
    folder.event("baseline", **found, val_accuracy=origin.accuracy)
    folder.record(baseline_saw_validation=origin.seen_validation)
    dense = rewrite_shortcuts(origin.model).eval()
    traced = proven(dense, torch.zeros(1, *images.input_shape))
    if not traced.groups:
        reason = traced.unfollowed[0].reason if traced.unfollowed else "no channel is free"
        raise InputError(f"nothing of {spec.name} can be pruned: {reason}")
    exported = Exported(dense, to_onnx(dense, images.input_shape))
    device = connect(request.device)
    latency = _latency(traced, request, device, folder, progress)
    problem = pose(
        traced,
        latency,
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
    )
    return RunContext(
        request=request,
        folder=folder,
        progress=progress,
        device=device,
        images=images,
        origin=origin,
        dense=exported,
        latency=latency,
        problem=problem,
        time=time,
    )


def pose(traced: Trace, latency: LatencyModel, images: DataSet, **options: Any) -> Problem:
    """The problem of pruning a network: widths of the device's grid, costs by its table.

    Test images are never looked at; ``options`` are further fields of :class:`Problem`.
    """
    space, counts = build(traced.groups, latency.grid), CostModel(traced)
    costs = Costs(space.full, (latency.predict, counts.macs, counts.params))
    return Problem(
        trace=traced,
        space=space,
        costs=costs,
        images=images,
        latency_error=latency.error,
        **options,
    )


def _latency(
    traced: Trace, request: Request, device: Device, folder: RunFolder, progress: Progress
) -> LatencyModel:
    """The measured table of this device; what it lacks is measured now and kept."""
    options = Probe(device=device, progress=progress)
    model = probe(blocks.to_network(traced), request.target, options).model
    write_whole(folder.path / "latency.json", model.document)
    folder.event("latency table", sha256=model.sha256, error=model.error, grid=model.grid)
    return model
