"""Scores of slim networks: folded (F1), refitted, or after some distillation (F2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from time import monotonic

import torch
from torch import Tensor, fx, nn

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Batch, Images, stratified
from edgeprune.prune.models.outputs import tensors
from edgeprune.prune.models.placement import best_device, narrow, working_copy
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.evaluation.scores import Answers, Kind, PlainPlan, Scored, Task
from edgeprune.prune.slimming.compensation import unlabelled
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.batchnorm import estimate, recalibrate
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.loop import DivergenceError, Setting, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.task import Outputs, Score
from edgeprune.prune.training.task import Task as NetworkTask
from edgeprune.prune.training.tasks import CLASSIFICATION
from edgeprune.prune.training.teacher import Answered

AsDeployed = Callable[[nn.Module], nn.Module]
_BATCH = 256
_DIVERGED = 1e3
_MOST_OUTPUTS = 1 << 28  # bytes of the dense network's outputs that are held: 256 MiB


class Evaluator:
    """Scores of slim networks, memoised by what they keep.

    F1 slims, folds, recalibrates BatchNorm and scores; between it and F2 stands the refit in
    closed form; F2 distils before it scores, on more images. Each sees the same images for
    every network, and validation images only judge.

    Args:
        trace: The dense network.
        images: Training images to calibrate and distil on, validation images to judge by.
        effort: What a score may cost.
        memo: Scores so far; its basis must name the network, the images and the device.
        folding: Folds removed channels into those that stay; without it they are just cut.
        as_deployed: From a distilled network to the one that would run on the device, where that
            answers otherwise (int8); F2 judges it.
        elsewhere: Answers in place of this process; but F2 is computed here where
            ``as_deployed`` is given, as other processes have no such runtime.
        deployed_as: Digest of all that ``as_deployed`` depends on beside the network.
        task: What networks are trained and judged by.
    """

    def __init__(  # noqa: PLR0913  what it stands on, and options by name
        self,
        trace: Trace,
        images: DataSet,
        effort: Effort,
        memo: Memo | None = None,
        *,
        folding: Folding | None = None,
        as_deployed: AsDeployed | None = None,
        elsewhere: Answers | None = None,
        deployed_as: str = "",
        task: NetworkTask = CLASSIFICATION,
    ) -> None:
        self.effort = effort
        self._trace, self._images = trace, images
        self._memo = memo or Memo()
        self._folding, self._as_deployed = folding, as_deployed
        self._elsewhere = elsewhere
        self._deployed_as, self._task = deployed_as, task
        self._device = best_device()
        self._asked: set[PlainPlan] = set()
        self._rules: dict[PlainPlan, str] = {}
        self._began = monotonic()
        self.scored: list[Scored] = []
        self._calibration = list(
            _served(images.train, effort.calibration, self._device, augment=True)
        )
        self._held = self._affordable()
        judged = min(effort.judged, self._held)
        self._judged = list(_served(images.val, judged, self._device))
        self._expected = self._of_dense(self._judged)

    def credit(self, plan: PruningPlan, rule: str) -> None:
        """Name the pruning rule that made a network; the first name of a network stays."""
        self._rules.setdefault(_plain(plan), rule)

    @property
    def evaluated(self) -> int:
        """Number of networks that F1 was asked for, each counted once, remembered or not."""
        return len(self._asked)

    def remembered(self, plan: PruningPlan) -> Score | None:
        """F1 of a network where it is known already; it does not count as asked for."""
        given = self._given(Task("F1", _plain(plan)))
        if not self._memo.knows("F1", given):
            return None
        return Score(**self._memo.recall("F1", given, dict))

    @property
    def at_once(self) -> int:
        """How many networks it is worth to ask for together."""
        return self._elsewhere.at_once if self._elsewhere else 1

    def score(self, plan: PruningPlan) -> Score:
        """F1: slimmed, folded and recalibrated; nothing learnt."""
        return next(self.score_many([plan]))

    def refitted(self, plan: PruningPlan) -> Score:
        """Slimmed, refitted in closed form and recalibrated; nothing learnt."""
        return next(self.refitted_many([plan]))

    def distilled(self, plan: PruningPlan, steps: int) -> Score:
        """F2: folded, recalibrated and distilled for so many steps."""
        return next(self.distilled_many([plan], steps))

    def score_many(self, plans: Sequence[PruningPlan]) -> Iterator[Score]:
        """F1 of each in turn; what is not taken is neither counted nor, here, computed."""
        return self._many("F1", plans)

    def refitted_many(self, plans: Sequence[PruningPlan]) -> Iterator[Score]:
        """:meth:`refitted` of each in turn."""
        return self._many("refit", plans)

    def distilled_many(self, plans: Sequence[PruningPlan], steps: int) -> Iterator[Score]:
        """:meth:`distilled` of each in turn."""
        return self._many("F2", plans, steps)

    def answer(self, task: Task) -> Score:
        """Compute one score here and now, whatever is remembered."""
        plan = PruningPlan(model="", kept=dict(task.kept))
        if task.kind == "F2":
            return self._trained(plan, self._distilling(task.steps))
        return self._recalibrated(self._refit(plan) if task.kind == "refit" else self._slim(plan))

    def _many(self, kind: Kind, plans: Sequence[PruningPlan], steps: int = 0) -> Iterator[Score]:
        tasks = [Task(kind, _plain(plan), steps) for plan in plans]
        unknown = [t for t in tasks if not self._memo.knows(kind, self._given(t))]
        unknown = list(dict.fromkeys(unknown))  # in the order in which the memo asks for them
        answers: Iterator[Score] = map(self.answer, unknown)
        if self._elsewhere and unknown and not (kind == "F2" and self._as_deployed):
            answers = self._elsewhere(unknown)
        for task in tasks:
            if kind == "F1":
                self._asked.add(task.kept)
            yield self._recall(task, answers)

    def _recall(self, task: Task, answers: Iterator[Score]) -> Score:
        shared = self._memo.is_shared(task.kind, self._given(task))
        numbers = self._memo.recall(task.kind, self._given(task), lambda: vars(next(answers)))
        score = Score(**numbers)
        self.scored.append(
            Scored(
                kind=task.kind,
                kept={name: len(stay) for name, stay in task.kept},
                steps=task.steps,
                score=score,
                seconds=monotonic() - self._began,
                rule=self._rules.get(task.kept, ""),
                shared=shared,
            )
        )
        return score

    def _given(self, task: Task) -> list[object]:
        """What a score depends on beside the memo's basis."""
        effort, folded = self.effort, self._folding is not None
        if task.kind == "F2":
            recipe = asdict(self._distilling(task.steps))
            deployed = [self._deployed_as] if self._deployed_as else []
            return [task.kept, recipe, effort.examined, folded, *deployed]
        images = effort.calibration if task.kind == "F1" else effort.refit_images
        return [task.kept, images, effort.judged, folded]

    def _distilling(self, steps: int) -> Recipe:
        # An average over so few steps would hold little but the start.
        return replace(self.effort.recipe, steps=steps, ema=None)

    def _slim(self, plan: PruningPlan) -> nn.Module:
        return slim(self._trace, plan) if self._folding is None else self._folding.slim(plan)

    def _refit(self, plan: PruningPlan) -> nn.Module:
        network = slim(self._trace, plan)
        if not isinstance(network, fx.GraphModule):
            return network
        return refit(network, self._trace, plan, self._unlabelled).model

    def _affordable(self) -> int:
        """Number of images whose outputs of the dense network are held: maps may be large."""
        pixels = torch.zeros(1, *self._images.input_shape, device=self._device)
        (outputs,) = self._of_dense([(pixels, pixels)])
        return max(_BATCH, _MOST_OUTPUTS // (4 * sum(output.numel() for output in outputs)))

    @cached_property
    def _unlabelled(self) -> Tensor:
        return unlabelled(self._images.train, self._trace, self.effort.refit_images)

    def _recalibrated(self, slimmed: nn.Module) -> Score:
        network = working_copy(slimmed, self._device).eval()
        with narrow(self._device):
            estimate(network, (pixels for pixels, _ in self._calibration))
        return self._judge(network, self._judged, self._expected)

    def _trained(self, plan: PruningPlan, recipe: Recipe) -> Score:
        train_images = self._images.train
        network = self._slim(plan).to(self._device)
        start = recalibrate(network, train_images, device=self._device)
        try:
            trained = train_in(start, train_images, recipe, self._teaching)
        except DivergenceError:  # one network less, not the end of the search
            return Score(_DIVERGED)
        deployed = self._as_deployed(trained.model) if self._as_deployed else trained.model
        network = working_copy(deployed, self._device).eval()
        return self._judge(network, self._examined(), self._expected_examined)

    @cached_property
    def _teaching(self) -> Setting:
        """The dense network answers each batch once, however many networks learn from it."""
        return Setting(
            teacher=self._trace.model,
            ranks=Ranks(device=self._device),
            task=self._task,
            answered=Answered(),
        )

    def _examined(self) -> Iterator[Batch]:
        """More images than a memory may hold, so they are read anew each time."""
        examined = min(self.effort.examined, self._held)
        return _served(self._images.val, examined, self._device)

    @cached_property
    def _expected_examined(self) -> list[Outputs]:
        return self._of_dense(self._examined())

    def _of_dense(self, batches: Iterable[Batch]) -> list[Outputs]:
        """What the dense network returns, a batch each."""
        dense = working_copy(self._trace.model, self._device).eval()
        with torch.inference_mode(), narrow(self._device):
            answers = (tensors(dense(pixels)) for pixels, _ in batches)
            return [tuple(output.float() for output in answer) for answer in answers]

    def _judge(
        self, network: nn.Module, batches: Iterable[Batch], expected: list[Outputs]
    ) -> Score:
        with torch.inference_mode(), narrow(self._device):
            return self._task.judge(network, batches, expected)


def _plain(plan: PruningPlan) -> PlainPlan:
    """What a plan keeps, whatever its model is called and in whichever order its groups come."""
    return tuple(sorted((name, tuple(stay)) for name, stay in plan.kept.items()))


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
