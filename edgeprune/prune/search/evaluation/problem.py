"""The pruning problem: the network, its legal widths and costs, images, channel saliencies."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgeprune.progress import Progress, silent
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models.placement import best_device, has_bfloat16
from edgeprune.prune.saliency import criteria, surgeon
from edgeprune.prune.saliency.curvature import Curvature, WaveletOptions, measure
from edgeprune.prune.saliency.surgeon import Order
from edgeprune.prune.search.engine.population import Settings, unlimited
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.evaluator import AsDeployed, Evaluator
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.evaluation.scores import Answers
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.widths import PruningSpace
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION

Saliencies = tuple[Tensor, ...]
CRITERIA = ("wavelet", "taylor", "l1", "bn")
GenomeKind = Literal["widths", "bits"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What every strategy searches on; what is costly is computed once, when it is asked for.

    Attributes:
        trace: The dense network and its channel groups.
        space: Channel groups and the widths the device rewards.
        costs: Predicted costs of widths.
        images: Training images calibrate and distil, validation images judge.
        settings: Size, operators and seed of the genetic search.
        effort: How much the evaluator's scores may cost.
        wavelet: How the statistics behind the wavelet criterion are taken.
        criteria_names: Which criteria may rank channels; others for ablations.
        fold: Whether removed channels are folded into those that stay before a score.
        genome: What ``gwcs`` evolves: widths, their masks looked up in the order, or raw bits.
        folder: Where unfinished searches keep what they know; nowhere without one.
        progress: Called as the search goes on.
        left: Seconds that are left for scoring; a search then ends with the best so far.
        left_to_choose: Seconds that are left for scoring and for the dearer scores of the best.
        model: Name of the dense network.
        as_deployed: What F2 judges in place of a distilled network, see :class:`Evaluator`.
        deployed_as: Digest of all that this depends on beside the network.
        elsewhere: Makes what computes the evaluator's scores in place of this process.
        latency_error: Mean relative error of the predicted latency on networks that the table
            was not fitted to.
        statistics: Measures the curvature in place of this problem, which may share it.
        others: Files of scores that searches for other targets computed.
        known: Widths (G,) of the networks that those scored.
        task: What networks are trained and judged by.
    """

    trace: Trace
    space: PruningSpace
    costs: Costs
    images: DataSet
    settings: Settings = field(default_factory=Settings)
    effort: Effort = field(default_factory=Effort)
    wavelet: WaveletOptions = field(default_factory=WaveletOptions)
    criteria_names: tuple[str, ...] = CRITERIA[:1]
    fold: bool = True
    genome: GenomeKind = "widths"
    folder: Path | None = None
    progress: Progress = silent
    left: Callable[[], float] = unlimited
    left_to_choose: Callable[[], float] = unlimited
    model: str = ""
    as_deployed: AsDeployed | None = None
    deployed_as: str = ""
    elsewhere: "Callable[[Problem], Answers] | None" = None
    latency_error: float = 0.0
    statistics: Callable[[], Curvature] | None = None
    others: tuple[Path, ...] = ()
    known: tuple[tuple[int, ...], ...] = ()
    task: Task = CLASSIFICATION

    def time_room(self) -> float:
        """Room for any number of evaluations as long as there is time, then for none."""
        return math.inf if self.left() > 0 else 0.0

    @cached_property
    def curvature(self) -> Curvature:
        """Second-order statistics of every layer that reads channels."""
        self.progress("measuring curvature", 0, 1)
        if self.statistics:
            found = self.statistics()
        else:
            found = measure(self.trace, self.images.train, self.wavelet, task=self.task)
        self.progress("measuring curvature", 1, 1)
        return found

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """Per group its channels in order, and the damage of every width.

        A group that only layers without statistics read is ordered by L1; each of its channels
        is priced as the mean channel of the others.
        """
        found = surgeon.orders(self.curvature, self.trace.groups)
        known = [float(order.damage[0]) / len(order.channels) for order in found if order]
        price = sum(known) / len(known) if known else 1.0
        return tuple(
            order or surgeon.unread(saliency, price)
            for order, saliency in zip(found, criteria.l1(self.trace), strict=True)
        )

    def damage(self, name: str, index: int, width: int) -> float:
        """Damage of keeping the first ``width`` channels of one group by a criterion."""
        if name == "wavelet":
            return float(self.orders[index].damage[width])
        kept = np.zeros(self.space.groups[index].width, np.bool_)
        ranked = self.criterion(name)[index].argsort(descending=True, stable=True)
        kept[ranked[:width].cpu().numpy()] = True
        return surgeon.damage(self.curvature, index, kept)

    @cached_property
    def drops(self) -> Mapping[str, float]:
        """By branch the damage of dropping it, where its addition could be measured."""
        return surgeon.drop_damages(self.curvature)

    @cached_property
    def interactions(self) -> tuple[Tensor, ...]:
        """Per group the damage of removed channels as a quadratic form, (C, C)."""
        return tuple(
            surgeon.interactions(self.curvature, index, group.width)
            for index, group in enumerate(self.space.groups)
        )

    @cached_property
    def folding(self) -> Folding:
        """Slims with the fold."""
        return Folding(self.trace, self.curvature)

    @cached_property
    def criteria(self) -> Mapping[str, Saliencies]:
        """Saliency of each channel, (C,) per group, by each criterion that may rank channels."""
        return {name: self.criterion(name) for name in self.criteria_names}

    @cached_property
    def criterion(self) -> Callable[[str], Saliencies]:
        """Saliency of each channel, (C,) per group, by one of :data:`CRITERIA`."""
        return cache(self._saliencies)

    def _saliencies(self, name: str) -> Saliencies:
        if name == "taylor":
            return criteria.taylor(self.trace, self.images.train)
        if name == "wavelet":
            return tuple(order.saliency for order in self.orders)
        by_weights = {"l1": criteria.l1, "bn": criteria.bn_gamma}
        return by_weights[name](self.trace)

    @cached_property
    def memo(self) -> Memo:
        """Scores of this network on these images, kept in ``folder`` where there is one."""
        path = None if self.folder is None else self.folder / "evaluations.jsonl"
        images, device = self.images, best_device()
        basis = [
            network_digest(self.trace),
            [images.name, images.fingerprint, images.input_shape, asdict(images.normalisation)],
            [torch.__version__, device.type, has_bfloat16()],
            asdict(self.wavelet),
            *self.task.identity,
        ]
        return Memo(path, basis, self.others)

    @cached_property
    def evaluator(self) -> Evaluator:
        """What a slim network is worth before it is fine-tuned, and after a little of it."""
        folding = self.folding if self.fold else None
        return Evaluator(
            self.trace,
            self.images,
            self.effort,
            self.memo,
            folding=folding,
            as_deployed=self.as_deployed,
            deployed_as=self.deployed_as,
            elsewhere=self.elsewhere(self) if self.elsewhere else None,
            task=self.task,
        )


def network_digest(trace: Trace) -> str:
    """A sha256 of the dense graph's code and of all its parameters and buffers."""
    found = hashlib.sha256(trace.graph.code.encode())
    for name, tensor in trace.graph.state_dict().items():
        plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(plain.numpy())
    return found.hexdigest()
