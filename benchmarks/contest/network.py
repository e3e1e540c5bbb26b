"""The dense network that every arm is judged on: its images, its latency table and its clock."""

import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.table.latency_model import Predictor
from edgeprune.deploy.table.probe import probe
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import MachineError
from edgeprune.export.exporter import to_onnx
from edgeprune.export.slim_export import SlimExport, slim_export
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build, load_dense
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.tracing.trace import Trace, trace
from edgeprune.prune.training.dense import obtain
from edgeprune.run.measured_search import PairedTiming
from edgeprune.run.setup import pose
from edgeprune.target import TargetProfile, load_target

TARGET = "mobile-cpu"
# Public checkpoints on the CIFAR-10 images, below SHARED/data/checkpoints.
WEIGHTS = {"resnet20": "resnet20-jpeg45k.pt", "resnet56": "resnet56-jpeg-tuned.pt"}
LONGEST = 900.0  # seconds for one job of the stopwatch; it ends with its last epoch


@dataclass(frozen=True)
class DenseNetwork:
    """A dense network and everything its slim versions are compared by.

    Attributes:
        name: The network's name.
        model: With rewritten shortcuts, in evaluation mode: the reference of every ratio.
        images: Train, validation and test images.
        profile: The target.
    """

    name: str
    model: nn.Module
    images: DataSet
    profile: TargetProfile

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The dense network as exported."""
        return to_onnx(self.model, self.images.input_shape)

    @cached_property
    def trace(self) -> Trace:
        """The dense network with its channels followed."""
        return trace(self.model, self._example)

    @cached_property
    def export(self) -> SlimExport:
        """The dense network exported once, for all that are slimmed from it."""
        return slim_export(self.trace)

    @cached_property
    def latency(self) -> Predictor:
        """The latency table; what it lacks is measured now."""
        return probe(self.export.network(), self.profile).model

    def problem(self, **options: Any) -> Problem:
        """What edgeprune's own arms look at; further fields of the problem by name."""
        return pose(self.trace, self.latency, self.images, model=self.name, **options)

    @cached_property
    def timing(self) -> PairedTiming:
        """How candidates of edgeprune's own arms are measured."""
        setting = replace(self.setting, max_seconds=self.profile.measure.max_seconds)
        return PairedTiming(self.proto.SerializeToString(), setting, self.export)

    @cached_property
    def setting(self) -> Setting:
        """How and where networks are timed, as ``edgeprune check`` does it."""
        setting = Options(device=connect("local://")).setting(self.profile)
        return replace(setting, max_seconds=LONGEST)

    def exported(self, network: nn.Module) -> bytes:
        """A network as it is deployed."""
        return to_onnx(network, self.images.input_shape).SerializeToString()

    def latencies(
        self, files: Sequence[bytes], *, epochs: int = protocol.EPOCHS
    ) -> list[Interval]:
        """Measured latency of each ONNX file over the dense network's, all in turn with it.

        Raises:
            MachineError: the machine was too busy for two epochs of each.
        """
        reference = self.proto.SerializeToString()
        pairs = protocol.compare_many(files, reference, self.setting, epochs=epochs)
        intervals = [pair.interval for pair in pairs]
        if any(interval is None for interval in intervals):
            raise MachineError("too few epochs to compare; try again on a quieter machine")
        return [interval for interval in intervals if interval is not None]

    def sizes(self, network: nn.Module) -> dict[str, float]:
        """MACs and parameters of a slim network over those of the dense one."""
        slim, dense = _counted(trace(network, self._example)), _counted(self.trace)
        return {name: round(slim[name] / dense[name], 4) for name in dense}

    @property
    def _example(self) -> Tensor:
        return torch.zeros(1, *self.images.input_shape)


def _counted(traced: Trace) -> dict[str, int]:
    """MACs and parameters of a network as it stands."""
    counts = CostModel(traced)
    full = np.array([[group.width for group in traced.groups]], np.int64)
    return {"macs": int(counts.macs(full)[0]), "params": int(counts.params(full)[0])}


def dense_network(model: str, weights: Path | None, images: DataSet) -> DenseNetwork:
    """Load the dense network, or train it where there is a CUDA device.

    Without weights and without CUDA the network stays as initialised: then only its latency
    and its size mean anything.
    """
    spec = ModelSpec(model, len(images.classes))
    if weights is not None:
        network = load_dense(spec, weights).model
    elif torch.cuda.is_available():
        network = obtain(spec, images, None).model
    else:
        network = build(spec)
    return DenseNetwork(model, rewrite_shortcuts(network).eval(), images, load_target(TARGET))


@contextmanager
def public_network(model: str, shared: Path, work: Path | None) -> Iterator[DenseNetwork]:
    """A dense network of a public checkpoint; without ``work`` its images go at the end."""
    with tempfile.TemporaryDirectory() as folder:
        images = unpacked(shared, work or Path(folder))
        weights = shared / "data" / "checkpoints" / WEIGHTS[model]
        yield dense_network(model, weights, images)


def unpacked(shared: Path, work: Path) -> DataSet:
    """The CIFAR-10 images of ``shared``, unpacked and decoded below ``work`` once."""
    folder = work / "images"
    if not folder.exists():
        partial = work / "unpacking"
        with tarfile.open(shared / "data" / "cifar10-jpeg.tar.xz") as archive:
            archive.extractall(partial, filter="data")
        partial.rename(folder)
    root = next(path.parent for path in folder.rglob("train") if path.is_dir())
    return datasets.load(str(root), cache=work / "decoded")
