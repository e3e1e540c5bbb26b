"""What may a strategy look at: the network, its legal widths and costs, images, criteria."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from edgeprune.progress import Progress, silent
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.saliency import criteria
from edgeprune.prune.saliency.descriptors import Descriptors
from edgeprune.prune.saliency.wavelet import WaveletOptions, describe
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.evaluator import Effort, Evaluator
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.widths import PruningSpace
from edgeprune.prune.tracing.trace import Trace

CRITERIA = ("taylor", "l1", "bn", "wavelet")


@dataclass(frozen=True)
class Problem:
    """What every strategy stands on; what is costly is computed once, when it is asked for.

    Attributes:
        trace: The dense network with its channels followed.
        space: Channel groups and the widths the device rewards.
        costs: Predicted costs of widths.
        images: Training images calibrate and distil, validation images judge.
        settings: Size, operators and seed of the genetic search.
        effort: How much the evaluator's scores may cost.
        wavelet: How channels are described.
        criteria_names: Which criteria may rank channels; fewer for ablations.
        folder: Where unfinished searches keep what they know; nowhere without one.
        progress: Told how far the search is.
        model: Name of the dense network.
        latency_error: Mean relative error of the predicted latency on networks that the table
            was not fitted to.
    """

    trace: Trace
    space: PruningSpace
    costs: Costs
    images: DataSet
    settings: Settings = field(default_factory=Settings)
    effort: Effort = field(default_factory=Effort)
    wavelet: WaveletOptions = field(default_factory=WaveletOptions)
    criteria_names: tuple[str, ...] = CRITERIA
    folder: Path | None = None
    progress: Progress = silent
    model: str = ""
    latency_error: float = 0.0
    _found: dict[str, tuple[Tensor, ...]] = field(default_factory=dict, repr=False)

    @cached_property
    def descriptors(self) -> tuple[Descriptors, ...]:
        """Wavelet descriptors per group."""
        return describe(self.trace, self.images.train, self.wavelet)

    @cached_property
    def criteria(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Saliency of each channel, (C,) per group, by each criterion."""
        return {name: self.criterion(name) for name in self.criteria_names}

    def criterion(self, name: str) -> tuple[Tensor, ...]:
        """Saliency of each channel, (C,) per group, by one of :data:`CRITERIA`."""
        if name not in self._found:
            known: dict[str, Callable[[], tuple[Tensor, ...]]] = {
                "taylor": lambda: criteria.taylor(self.trace, self.images.train),
                "l1": lambda: criteria.l1(self.trace),
                "bn": lambda: criteria.bn_gamma(self.trace),
                "wavelet": lambda: tuple(d.saliency for d in self.descriptors),
            }
            self._found[name] = known[name]()
        return self._found[name]

    @cached_property
    def evaluator(self) -> Evaluator:
        """What a slim network is worth before it is fine-tuned, and after a little of it."""
        notes = None if self.folder is None else self.folder / "evaluations.jsonl"
        return Evaluator(self.trace, self.images, self.effort, notes)
