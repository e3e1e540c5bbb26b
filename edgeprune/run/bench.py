"""What a worker does beside scores: statistics of some ports, a pass of a fine-tuning."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.files import contents
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.saliency.curvature import Curvature, Statistics, WaveletOptions, measure
from edgeprune.prune.saliency.ports import find_additions, find_ports
from edgeprune.prune.search.evaluation.scores import PlainPlan
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.loop import Setting, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PlainStatistics:
    """Statistics of one port as arrays; shapes as in :class:`Statistics`."""

    fisher: Array
    grams: tuple[Array, ...]
    mean: Array


@dataclass(frozen=True)
class PortsTask:
    """Statistics to measure.

    Attributes:
        nodes: Names of the nodes of the ports and additions that are wanted.
        options: How.
    """

    nodes: frozenset[str]
    options: WaveletOptions


@dataclass(frozen=True, kw_only=True)
class PassTask:
    """A training, of which one pass over the images is to be taken.

    Attributes:
        kept: What the network keeps of the dense one, which teaches it.
        weights: Its parameters and buffers before the training; none where there is a state.
        recipe: How it is trained.
        task: Which training it is, as in :class:`Keep`.
        state: The state file so far; empty before the first pass.
    """

    kept: PlainPlan
    weights: Mapping[str, Array]
    recipe: Recipe
    task: Mapping[str, Any]
    state: bytes


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The dense network and its images in a worker.

    Attributes:
        images: Training and validation images.
        trace: The dense network.
        task: What networks are trained and judged by.
    """

    images: DataSet
    trace: Trace
    task: Task = CLASSIFICATION

    def answer(self, task: PortsTask | PassTask) -> dict[str, PlainStatistics] | bytes:
        """The statistics by node, or the state file behind the pass.

        Raises:
            DivergenceError: the training did not hold.
        """
        if isinstance(task, PassTask):
            return self._trained(task)
        found = measure(
            self.trace, self.images.train, task.options, only=task.nodes, task=self.task
        )
        return plain_statistics(found)

    def _trained(self, task: PassTask) -> bytes:
        plan = PruningPlan(model="", kept=dict(task.kept))
        network = slim(self.trace, plan, fold_constants=False)  # its weights come next
        if task.weights:
            network.load_state_dict({name: tensor_of(a) for name, a in task.weights.items()})
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            path = Path(folder, "state.pt")
            if task.state:
                path.write_bytes(task.state)
            keep = Keep(path, task.task, pauses=True)
            setting = Setting(teacher=self.trace.model, keep=keep, task=self.task)
            train_in(network, self.images.train, task.recipe, setting)
            return contents(path)


def plain_statistics(curvature: Curvature) -> dict[str, PlainStatistics]:
    """The statistics of a network as arrays, by node."""
    return {
        name: PlainStatistics(
            fisher=array_of(found.fisher),
            grams=tuple(map(array_of, found.grams)),
            mean=array_of(found.mean),
        )
        for name, found in curvature.statistics.items()
    }


def curvature_of(traced: Trace, statistics: Mapping[str, PlainStatistics]) -> Curvature:
    """The reverse."""
    ports, left = find_ports(traced)
    return Curvature(
        ports=ports,
        additions=find_additions(traced),
        statistics={
            name: Statistics(
                fisher=tensor_of(found.fisher),
                grams=tuple(map(tensor_of, found.grams)),
                mean=tensor_of(found.mean),
            )
            for name, found in statistics.items()
        },
        left=left,
    )


def arrays_of(model: nn.Module) -> dict[str, Array]:
    """Parameters and buffers by name."""
    return {name: array_of(tensor) for name, tensor in model.state_dict().items()}


def array_of(tensor: Tensor) -> Array:
    """A tensor as it travels."""
    found: Array = tensor.detach().cpu().numpy()
    return found


def tensor_of(array: Array) -> Tensor:
    """A tensor from what came; a copy, since what came over a socket may not be written to."""
    return torch.from_numpy(np.array(array))
