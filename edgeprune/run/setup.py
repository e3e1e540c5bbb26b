"""What does every step of a run look at: images, the dense model, what widths cost and where?"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.table.latency_model import LatencyModel
from edgeprune.deploy.table.probe import Probe, probe
from edgeprune.errors import InputError
from edgeprune.export import blocks
from edgeprune.export.sealed_file import Exported, exported, sample_pixels
from edgeprune.files import write_whole
from edgeprune.progress import Progress
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import Trace, trace
from edgeprune.prune.training.dense import Baseline, obtain
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import Field, Timing
from edgeprune.run.request import Request


@dataclass(frozen=True)
class Scene:
    """The images and the dense model, as every later step looks at them.

    Attributes:
        request: What is wanted.
        images: Train, validation and test images.
        origin: Where the dense model came from and what it scores.
        dense: The dense model with its shortcuts rewritten, and as exported.
        counts: Exact MACs and params of widths.
        field: What candidates are drawn from and measured against.
    """

    request: Request
    images: DataSet
    origin: Baseline
    dense: Exported
    counts: CostModel
    field: Field

    @cached_property
    def basis(self) -> str:
        """Digest of the images and the dense weights: what an unfinished run rests on."""
        found = hashlib.sha256(self.images.fingerprint.encode())
        for name, tensor in self.dense.model.state_dict().items():
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    @cached_property
    def dense_accuracy(self) -> float:
        """Top-1 on the test images, 0..1; they are read when it is first asked for, at the end."""
        return self.test_accuracy(self.dense.model)

    def test_accuracy(self, network: nn.Module) -> float:
        """Top-1 on the test images, 0..1; nothing may be decided by it."""
        return evaluate(network, self.images.test).accuracy

    @property
    def record(self) -> Checkpoint:
        """What is known of the dense model, for its file and for that of the slim one."""
        images, origin, request = self.images, self.origin, self.request
        return Checkpoint(
            model=request.model.name,
            kwargs={**request.model.kwargs, "num_classes": len(images.classes)},
            plan=None,
            state_dict=self.dense.model.state_dict(),
            input_shape=images.input_shape,
            mean=images.normalisation.mean,
            std=images.normalisation.std,
            classes=images.classes,
            history={
                "target": request.target.model_dump(mode="json", by_alias=True),
                "data": images.name,
                "baseline": origin.origin,
                "baseline_saw_validation": origin.seen_validation,
            },
            images=sample_pixels(images),
        )


def look(request: Request, folder: RunFolder, progress: Progress) -> Scene:
    """Load the images and the dense model, and measure what the latency table lacks.

    Raises:
        InputError: images and model do not fit, or nothing of the model can be pruned.
        MachineError: the device cannot measure.
    """
    images = datasets.load(
        request.source,
        size=request.size,
        normalisation=request.normalisation,
        progress=progress,
    )
    spec = replace(request.model, num_classes=len(images.classes))
    origin = obtain(
        spec,
        images,
        request.weights,
        request.baseline,
        progress,
    )
    folder.event("baseline", origin=origin.origin, val_accuracy=origin.accuracy)
    folder.record(baseline_saw_validation=origin.seen_validation)
    dense = rewrite_shortcuts(origin.model).eval()
    traced = trace(dense, torch.zeros(1, *images.input_shape))
    if not traced.groups:
        reason = traced.unfollowed[0].reason if traced.unfollowed else "no channel is free"
        raise InputError(f"nothing of {spec.name} can be pruned: {reason}")
    whole = exported(dense, images.input_shape)
    timing = Timing(request.judged, connect(request.device))
    latency = _latency(traced, timing, folder, progress)
    counts = CostModel(traced)
    space = build(traced.groups, latency.grid)
    costs = Costs(space.full, (latency.predict, counts.macs, counts.params))
    field = Field(spec.name, traced, space, costs, latency.error, whole.proto, timing)
    return Scene(request, images, origin, whole, counts, field)


def _latency(traced: Trace, timing: Timing, folder: RunFolder, progress: Progress) -> LatencyModel:
    """The measured table of this device; what it lacks is measured now and kept."""
    options = Probe(device=timing.device, progress=progress)
    model = probe(blocks.to_network(traced), timing.profile, options).model
    write_whole(folder.path / "latency.json", model.document)
    folder.event("latency table", sha256=model.sha256, error=model.error, grid=model.grid)
    return model
