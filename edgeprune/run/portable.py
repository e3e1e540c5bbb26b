"""A pruning problem as plain records and arrays, and what it makes in another process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from edgeprune.errors import MachineError
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import HeldImages, Images, Normalisation
from edgeprune.prune.models.placement import best_device, has_bfloat16
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.evaluator import Evaluator
from edgeprune.prune.search.evaluation.problem import Problem, network_digest
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.task import TaskName
from edgeprune.prune.training.tasks import task_of
from edgeprune.run.bench import (
    Array,
    Bench,
    PlainStatistics,
    array_of,
    arrays_of,
    curvature_of,
    plain_statistics,
    tensor_of,
)


@dataclass(frozen=True, kw_only=True)
class PlainImages:
    """Images as arrays.

    Attributes:
        pixels: uint8, shape (N, C, H, W).
        labels: int64, shape (N,).
        flip: Whether a mirrored image still shows its class.
    """

    pixels: Array
    labels: Array
    flip: bool


@dataclass(frozen=True, kw_only=True)
class Portable:
    """The dense network and its images: what all work of a run depends on.

    Attributes:
        spec: Name and arguments of the dense network.
        weights: Its parameters and buffers by name.
        network: Digest of the network that they must make.
        images: Training and validation images; None where they are read from their files.
        source: Folder or list of the images where they are read.
        input_shape: Shape of an image, (C, H, W).
        normalisation: What every batch is normalised by.
        fingerprint: Of the images.
        arithmetic: Device type, and whether bfloat16 is multiplied there.
        task: What networks are trained and judged by.
    """

    spec: ModelSpec
    weights: Mapping[str, Array]
    network: str
    images: tuple[PlainImages, PlainImages] | None
    source: str
    input_shape: tuple[int, int, int]
    normalisation: Normalisation
    fingerprint: str
    arithmetic: tuple[str, bool]
    task: TaskName = "classification"

    def made(self, _: None = None) -> Bench:
        """The network and the images.

        Raises:
            MachineError: this machine lacks the images or the network, or computes otherwise.
        """
        if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
            torch.set_num_threads(int(threads))  # it may have been set after torch was imported
        if self.arithmetic != _arithmetic():
            raise MachineError(
                f"{_words(_arithmetic())} here, {_words(self.arithmetic)} where the search runs: "
                "scores would differ; use workers of the same kind"
            )
        return Bench(images=self._data_set(), trace=self._traced(), task=task_of(self.task))

    def _traced(self) -> Trace:
        model = rewrite_shortcuts(build(self.spec))
        model.load_state_dict({name: tensor_of(array) for name, array in self.weights.items()})
        traced = proven(model.eval(), torch.zeros(1, *self.input_shape))
        if network_digest(traced) != self.network:
            raise MachineError(f"{self.spec.name} is built otherwise here; install the same code")
        return traced

    def _data_set(self) -> DataSet:
        if self.images is None:
            if not Path(self.source).exists():
                raise MachineError(
                    f"no {self.source} there: images above {datasets.LARGEST_HELD} pixels "
                    "are read from their files, so every worker needs them under the same path"
                )
            found = datasets.load(
                self.source,
                size=self.input_shape[1:],
                normalisation=self.normalisation,
                labelled=self.task == "classification",
            )
            if found.fingerprint != self.fingerprint:
                raise MachineError(f"{self.source} holds other images there")
            return found
        train, val = (
            HeldImages(
                tensor_of(part.pixels),
                tensor_of(part.labels),
                normalisation=self.normalisation,
                flip=part.flip,
            )
            for part in self.images
        )
        return DataSet(
            name="",
            classes=(),
            train=train,
            val=val,
            test=val.subset(torch.arange(0)),  # nothing may be decided by test images
            input_shape=self.input_shape,
            normalisation=self.normalisation,
            fingerprint=self.fingerprint,
        )


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What scores depend on beside the network and its images.

    Attributes:
        effort: What a score may cost.
        statistics: Those of the fold; None without it.
    """

    effort: Effort
    statistics: Mapping[str, PlainStatistics] | None

    def made(self, bench: Bench) -> Evaluator:
        """The evaluator that answers as the problem's own, with nothing remembered."""
        folding = None
        if self.statistics is not None:
            folding = Folding(bench.trace, curvature_of(bench.trace, self.statistics))
        return Evaluator(bench.trace, bench.images, self.effort, folding=folding, task=bench.task)


def portable(
    traced: Trace,
    images: DataSet,
    spec: ModelSpec,
    source: str,
    task: TaskName = "classification",
) -> Portable:
    """What another process needs to have the same network and images.

    Args:
        traced: The dense network.
        images: Its images; those to test with stay here.
        spec: How the network is built.
        source: Folder or list of the images, for those that are not held in memory.
        task: What networks are trained and judged by.
    """
    return Portable(
        spec=spec,
        weights=arrays_of(traced.model),
        network=network_digest(traced),
        images=_held(images.train, images.val),
        source=str(Path(source).absolute()),
        input_shape=images.input_shape,
        normalisation=images.normalisation,
        fingerprint=images.fingerprint,
        arithmetic=_arithmetic(),
        task=task,
    )


def scoring(problem: Problem) -> Scoring:
    """What another process needs beside that to score; a problem's curvature where it folds."""
    found = plain_statistics(problem.curvature) if problem.fold else None
    return Scoring(effort=problem.effort, statistics=found)


def _held(train: Images, val: Images) -> tuple[PlainImages, PlainImages] | None:
    if not (isinstance(train, HeldImages) and isinstance(val, HeldImages)):
        return None
    return _plain(train), _plain(val)


def _plain(images: HeldImages) -> PlainImages:
    return PlainImages(
        pixels=array_of(images.pixels), labels=array_of(images.labels), flip=images.flip
    )


def _arithmetic() -> tuple[str, bool]:
    return best_device().type, has_bfloat16()


def _words(arithmetic: tuple[str, bool]) -> str:
    device, bfloat16 = arithmetic
    return f"{device} {'with' if bfloat16 else 'without'} bfloat16"
