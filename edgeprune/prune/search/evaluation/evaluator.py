"""What would a slim network be worth? Cheap answers, dear answers, each given once."""

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.files import disk_errors
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.placement import best_device, in_layout
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.loop import DivergenceError, train
from edgeprune.prune.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]
_BATCH = 256
_DIVERGED = 1e3


@dataclass(frozen=True)
class Effort:
    """What the evaluator's scores may cost.

    Attributes:
        evaluations: Networks that are slimmed, recalibrated and scored (F1) per search. joint
            needs some for F0, its rules and its stages, and a fifth of this for its polish.
        stage_generations: Generations that joint solves a stage for; 0 leaves the stages out.
        calibration: Training images that BatchNorm is recalibrated on for each.
        judged: Validation images that each is scored on.
        finalists: Networks that are distilled (F2) before one is chosen; 1 lets F1 decide.
        rungs: Steps that those left are distilled for, and how many of them are left then; none
            lets F1 decide.
        examined: Validation images that a distilled network is scored on.
        recipe: How to distil; the steps of a rung take the place of its length.
    """

    evaluations: int = 400
    stage_generations: int = 3
    calibration: int = 256
    judged: int = 768
    finalists: int = 8
    rungs: tuple[tuple[int, int], ...] = (100, 3), (300, 1)
    examined: int = 5000
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Score:
    """How a network does on the validation images.

    Attributes:
        loss: Cross-entropy plus the divergence from the dense network's classes, in nats.
        accuracy: Top-1, 0..1.
    """

    loss: float
    accuracy: float


FEW_IMAGES = Effort(evaluations=150, finalists=6, rungs=((20, 2), (60, 1)))
"""For a few hundred images: more evaluations would fit the search to them."""


class Evaluator:
    """Scores of slim networks, remembered by what they keep.

    F1 slims, recalibrates BatchNorm and scores; F2 distils before it scores, on more images. Each
    sees the same images for every network, and validation images only judge.

    Args:
        trace: The dense network.
        images: Training images to calibrate and distil on, validation images to judge by.
        effort: What a score may cost.
        notes: JSON lines of the scores so far; read at the start, appended to.
        device: Where to compute; CUDA where there is one.
    """

    def __init__(
        self,
        trace: Trace,
        images: DataSet,
        effort: Effort,
        notes: Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.effort = effort
        self._trace, self._images, self._notes = trace, images, notes
        self._device = device or best_device()
        self._known = _read(notes)
        self._asked: set[str] = set()
        self._calibration = list(
            _served(images.train, effort.calibration, self._device, augment=True)
        )
        self._judged = list(_served(images.val, effort.judged, self._device))
        self._expected = self._of_dense(self._judged)

    @property
    def evaluated(self) -> int:
        """Networks that F1 was asked for, each counted once, remembered or not."""
        return len(self._asked)

    def score(self, plan: PruningPlan) -> Score:
        """F1: slimmed and recalibrated, nothing learnt."""
        key = _key("F1", plan)
        self._asked.add(key)
        if key not in self._known:
            network = _ready(slim(self._trace, plan), self._device)
            self._recalibrate(network)
            self._note(key, self._judge(network, self._judged, self._expected))
        return self._known[key]

    def distilled(self, plan: PruningPlan, steps: int) -> Score:
        """F2: recalibrated and distilled for so many steps."""
        key = _key(f"F2 after {steps}", plan)
        if key not in self._known:
            start = recalibrate(slim(self._trace, plan), self._images.train)
            # An average over so few steps would hold little but the start.
            recipe = replace(self.effort.recipe, steps=steps, ema=None)
            try:
                trained = train(start, self._images.train, recipe, teacher=self._trace.model)
                network = _ready(trained.model, self._device)
                self._note(key, self._judge(network, self._examined(), self._expected_examined))
            except DivergenceError:  # one network less, not the end of the search
                self._note(key, Score(_DIVERGED, 0.0))
        return self._known[key]

    def _recalibrate(self, network: nn.Module) -> None:
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        with torch.no_grad(), _narrow(self._device):
            for pixels, _ in self._calibration if norms else ():
                network(pixels)
        network.eval()

    def _examined(self) -> Iterator[Batch]:
        """More images than a memory may hold, so they are read anew each time."""
        return _served(self._images.val, self.effort.examined, self._device)

    @cached_property
    def _expected_examined(self) -> list[Tensor]:
        return self._of_dense(self._examined())

    def _of_dense(self, batches: Iterable[Batch]) -> list[Tensor]:
        """Logits of the dense network, a batch each."""
        dense = _ready(self._trace.model, self._device)
        with torch.inference_mode(), _narrow(self._device):
            return [dense(pixels).float() for pixels, _ in batches]

    def _judge(
        self, network: nn.Module, batches: Iterable[Batch], expected: list[Tensor]
    ) -> Score:
        loss, right, count = 0.0, 0, 0
        with torch.inference_mode(), _narrow(self._device):
            for (pixels, labels), dense in zip(batches, expected, strict=True):
                logits = network(pixels).float()
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
                soft, target = F.log_softmax(logits, 1), F.log_softmax(dense, 1)
                loss += float(F.kl_div(soft, target, reduction="sum", log_target=True))
                right += int((logits.argmax(1) == labels).sum())
                count += len(labels)
        return Score(loss / count, right / count)

    def _note(self, key: str, score: Score) -> None:
        self._known[key] = score
        if self._notes is not None:
            line = json.dumps({"key": key, "loss": score.loss, "accuracy": score.accuracy})
            with disk_errors(self._notes), self._notes.open("a", encoding="utf-8") as file:
                # What was cut off stays a line of its own.
                file.write(("\n" if file.tell() else "") + line)


def _key(fidelity: str, plan: PruningPlan) -> str:
    kept = json.dumps(sorted((name, list(stay)) for name, stay in plan.kept.items()))
    return f"{fidelity} {hashlib.sha256(kept.encode()).hexdigest()}"


def _read(notes: Path | None) -> dict[str, Score]:
    """What interrupted searches had found out; the last line of each may be cut off."""
    known: dict[str, Score] = {}
    if notes is not None and notes.exists():
        for line in notes.read_text("utf-8").splitlines():
            try:
                entry = json.loads(line)
                known[entry["key"]] = Score(entry["loss"], entry["accuracy"])
            except (ValueError, KeyError):
                continue
    return known


def _served(
    images: Images, count: int, device: torch.device, *, augment: bool = False
) -> Iterator[Batch]:
    """The same batches each time, of ``count`` images evenly from all classes."""
    chosen = images.subset(stratified(images.labels, count, 0)).to(device)
    order = torch.Generator().manual_seed(0)
    for pixels, labels in chosen.batches(
        _BATCH, generator=order if augment else None, augment=augment
    ):
        yield pixels.contiguous(memory_format=torch.channels_last), labels


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    copied = copy.deepcopy(network).to(device)
    return in_layout(copied, torch.channels_last).eval()


@contextmanager
def _narrow(device: torch.device) -> Iterator[None]:
    """bfloat16 where the hardware multiplies it: on AVX-512 BF16 three times the images."""
    able = device.type == "cuda" or has_bfloat16()
    region: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=able
    )
    with region:
        yield


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
