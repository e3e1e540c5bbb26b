"""What a run rests on that no device changes: images, dense model, trace, its statistics."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from edgeprune.errors import InputError
from edgeprune.export.exported import Exported
from edgeprune.export.slim_export import SlimExport, slim_export
from edgeprune.progress import Progress
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.saliency.curvature import Curvature, WaveletOptions, measure
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.space.selection import refuse_unmatched
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.dense import DenseModel, given, obtain
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import task_of
from edgeprune.run import tried_csv
from edgeprune.run.elsewhere import Elsewhere
from edgeprune.run.folder import RunFolder
from edgeprune.run.request import Passed, Request


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Images and dense model of a run.

    Attributes:
        images: Train, validation and test images.
        spec: How the dense network is built.
        origin: Where the dense model came from and what it scores.
        dense: The dense model with its shortcuts rewritten, and as exported.
        export: From the dense network or a slim one to its ONNX model.
        trace: Its channel groups.
        wavelet: How its statistics are taken.
        task: What its networks are trained and judged by.
    """

    images: DataSet
    spec: ModelSpec
    origin: DenseModel
    dense: Exported
    export: SlimExport
    trace: Trace
    wavelet: WaveletOptions
    task: Task

    @cached_property
    def reference(self) -> Any:
        """The dense network on the test images, as comparisons need it; run once, at the end."""
        return self.task.reference(self.dense.model, self.images)

    @cached_property
    def digest(self) -> str:
        """Digest of the images and the dense weights: what an unfinished run rests on."""
        found = hashlib.sha256(self.images.fingerprint.encode())
        for name, tensor in self.dense.model.state_dict().items():
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class Earlier:
    """A search for another target whose scores may hold here, too.

    Attributes:
        target: Name of its target.
        request: What it was asked for.
        folder: Its run folder.
    """

    target: str
    request: Request
    folder: RunFolder


@dataclass(kw_only=True)
class Shared:
    """What the searches for several targets take from each other; nothing at first.

    Attributes:
        passed: A module, images or both in place of those that requests name.
        bases: By size and normalisation of the images, all in which they may differ.
        curvatures: By the same their second-order statistics.
        earlier: The searches before this one, in order.
    """

    passed: Passed = field(default_factory=Passed)
    bases: dict[Hashable, Basis] = field(default_factory=dict)
    curvatures: dict[Hashable, Curvature] = field(default_factory=dict)
    earlier: list[Earlier] = field(default_factory=list)

    def basis(self, request: Request, progress: Progress) -> Basis:
        """The basis of a request, made for the first that needs it."""
        key = _images(request)
        if key not in self.bases:
            self.bases[key] = prepare(request, self.passed, progress)
        return self.bases[key]

    def curvature(
        self, request: Request, basis: Basis, elsewhere: Elsewhere | None = None
    ) -> Curvature:
        """Second-order statistics of every layer that reads channels, measured once."""
        key = _images(request)
        if key not in self.curvatures:
            if elsewhere:
                found = elsewhere.curvature(basis.trace, basis.wavelet)
            else:
                found = measure(basis.trace, basis.images.train, basis.wavelet, task=basis.task)
            self.curvatures[key] = found
        return self.curvatures[key]

    def alike(self, request: Request) -> Sequence[Earlier]:
        """The earlier searches on the same images and dense model."""
        return [one for one in self.earlier if _images(one.request) == _images(request)]

    def files(self, request: Request) -> tuple[Path, ...]:
        """Their scores; a file that is missing holds none."""
        return tuple(one.folder.search() / "evaluations.jsonl" for one in self.alike(request))

    def networks(self, request: Request, traced: Trace) -> tuple[tuple[int, ...], ...]:
        """Widths of the networks that they scored, each once, in order."""
        count = len(traced.groups)
        found = (tried_csv.scored_widths(one.folder.path, count) for one in self.alike(request))
        return tuple(dict.fromkeys(widths for each in found for widths in each))


def _images(request: Request) -> Hashable:
    return request.size, request.normalisation


def prepare(request: Request, passed: Passed, progress: Progress) -> Basis:
    """Load the images and load or train the dense model.

    Raises:
        InputError: images and model do not fit, or nothing of the model can be pruned.
    """
    images = passed.images or datasets.load(
        request.source,
        size=request.size,
        normalisation=request.normalisation,
        labelled=request.task == "classification",
        progress=progress,
    )
    task = task_of(request.task, passed.score)
    spec = replace(request.model, num_classes=len(images.classes) or None)
    if request.selection:  # before a dense model is trained for what cannot be
        refuse_unmatched(request.selection, passed.module or build(spec), spec.name)
    if passed.module is not None:
        origin = given(passed.module, spec, images, task)
    else:
        weights, new_head = request.weights, request.new_head
        origin = obtain(
            spec, images, weights, request.baseline, progress, new_head=new_head, task=task
        )
    dense = rewrite_shortcuts(origin.model).eval()
    traced = proven(dense, torch.zeros(1, *images.input_shape))
    if not traced.groups:
        reason = traced.unfollowed[0].reason if traced.unfollowed else "no channel is free"
        raise InputError(f"nothing of {spec.name} can be pruned: {reason}")
    export = slim_export(traced)
    return Basis(
        images=images,
        spec=spec,
        origin=origin,
        dense=Exported(dense, export(dense)),
        export=export,
        trace=traced,
        wavelet=request.wavelet,
        task=task,
    )
