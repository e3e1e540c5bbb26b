"""A pruning problem as plain records and arrays, and the evaluator it makes in another process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import MachineError
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import HeldImages, Images, Normalisation
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.saliency.curvature import Curvature, Statistics
from edgeprune.prune.saliency.ports import find_additions, find_ports
from edgeprune.prune.search.evaluation.evaluator import Effort, Evaluator, has_bfloat16
from edgeprune.prune.search.evaluation.problem import Problem, network_digest
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.tracing.trace import Trace

Array = NDArray[Any]


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
class PlainStatistics:
    """Statistics of one port as arrays; shapes as in :class:`Statistics`."""

    fisher: Array
    grams: tuple[Array, ...]
    mean: Array


@dataclass(frozen=True, kw_only=True)
class Portable:
    """All that scores depend on.

    Attributes:
        spec: Name and arguments of the dense network.
        weights: Its parameters and buffers by name.
        network: Digest of the network that they must make.
        images: Training and validation images; None where they are read from their files.
        source: Folder or list of the images where they are read.
        input_shape: Shape of an image, (C, H, W).
        normalisation: What every batch is normalised by.
        fingerprint: Of the images.
        effort: What a score may cost.
        statistics: Those of the fold; None without it.
        arithmetic: Device type, and whether bfloat16 is multiplied there.
    """

    spec: ModelSpec
    weights: Mapping[str, Array]
    network: str
    images: tuple[PlainImages, PlainImages] | None
    source: str
    input_shape: tuple[int, int, int]
    normalisation: Normalisation
    fingerprint: str
    effort: Effort
    statistics: Mapping[str, PlainStatistics] | None
    arithmetic: tuple[str, bool]

    def evaluator(self) -> Evaluator:
        """The evaluator that answers as the problem's own, with nothing remembered.

        Raises:
            MachineError: this machine lacks the images or the network, or computes otherwise.
        """
        if self.arithmetic != _arithmetic():
            raise MachineError(
                f"{_words(_arithmetic())} here, {_words(self.arithmetic)} where the search runs: "
                "scores would differ; use workers of the same kind"
            )
        images, traced = self._data_set(), self._traced()
        folding = None
        if self.statistics is not None:
            folding = Folding(traced, _curvature(traced, self.statistics))
        return Evaluator(traced, images, self.effort, folding=folding)

    def _traced(self) -> Trace:
        model = rewrite_shortcuts(build(self.spec))
        model.load_state_dict({name: _tensor(array) for name, array in self.weights.items()})
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
                self.source, size=self.input_shape[1:], normalisation=self.normalisation
            )
            if found.fingerprint != self.fingerprint:
                raise MachineError(f"{self.source} holds other images there")
            return found
        train, val = (
            HeldImages(
                _tensor(part.pixels),
                _tensor(part.labels),
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


def portable(problem: Problem, spec: ModelSpec, source: str) -> Portable:
    """What another process needs to compute the scores of a problem.

    Args:
        problem: The problem; its curvature is measured here where it folds.
        spec: How its dense network is built.
        source: Folder or list of its images, for those that are not held in memory.
    """
    images, statistics = problem.images, None
    if problem.fold:
        statistics = {
            name: PlainStatistics(
                fisher=_array(found.fisher),
                grams=tuple(map(_array, found.grams)),
                mean=_array(found.mean),
            )
            for name, found in problem.curvature.statistics.items()
        }
    state = problem.trace.model.state_dict()
    return Portable(
        spec=spec,
        weights={name: _array(tensor) for name, tensor in state.items()},
        network=network_digest(problem.trace),
        images=_held(images.train, images.val),
        source=str(Path(source).absolute()),
        input_shape=images.input_shape,
        normalisation=images.normalisation,
        fingerprint=images.fingerprint,
        effort=problem.effort,
        statistics=statistics,
        arithmetic=_arithmetic(),
    )


def _held(train: Images, val: Images) -> tuple[PlainImages, PlainImages] | None:
    if not (isinstance(train, HeldImages) and isinstance(val, HeldImages)):
        return None
    return _plain(train), _plain(val)


def _plain(images: HeldImages) -> PlainImages:
    return PlainImages(
        pixels=_array(images.pixels), labels=_array(images.labels), flip=images.flip
    )


def _curvature(traced: Trace, statistics: Mapping[str, PlainStatistics]) -> Curvature:
    ports, left = find_ports(traced)
    return Curvature(
        ports=ports,
        additions=find_additions(traced),
        statistics={
            name: Statistics(
                fisher=_tensor(found.fisher),
                grams=tuple(map(_tensor, found.grams)),
                mean=_tensor(found.mean),
            )
            for name, found in statistics.items()
        },
        left=left,
    )


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy()
    return found


def _tensor(array: Array) -> Tensor:
    # A copy: what has come over a socket may not be written to.
    return torch.from_numpy(np.array(array))


def _arithmetic() -> tuple[str, bool]:
    return best_device().type, has_bfloat16()


def _words(arithmetic: tuple[str, bool]) -> str:
    device, bfloat16 = arithmetic
    return f"{device} {'with' if bfloat16 else 'without'} bfloat16"
