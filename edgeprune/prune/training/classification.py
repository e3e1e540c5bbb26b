"""Classification: the first output are logits, labels are known, the result is top-1 accuracy."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Batch, Images
from edgeprune.prune.models.outputs import answer_to, first
from edgeprune.prune.training.evaluation import evaluate, kept_answers, paired, top1
from edgeprune.prune.training.recipe import Recipe, distillation
from edgeprune.prune.training.task import Compared, Figure, Outputs, Score, TaskName
from edgeprune.text import one_line


@dataclass(frozen=True)
class Classification:
    """See :class:`~edgeprune.prune.training.task.Task`."""

    name: ClassVar[TaskName] = "classification"
    figure: ClassVar[Figure] = Figure(
        name="accuracy", unit="%", scale=100, budget="accuracy_drop", lost="loses {:.2f} points"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """Nothing: scores of earlier versions hold."""
        return ()

    def refuse(self, network: nn.Module, name: str, images: DataSet) -> None:
        """Refuse a network whose first output is not one number a class."""
        answer = first(answer_to(network, torch.zeros(2, *images.input_shape)))
        wanted = (2, len(images.classes))
        if answer.ndim == 2 and answer.shape != wanted:
            raise InputError(
                f"{name} has {answer.shape[1]} outputs, {images.name} has {wanted[1]} classes "
                f"({_some(images.classes)}); build it with {wanted[1]}, or give the images that "
                "it was made for with --data"
            )
        if answer.shape != wanted:
            raise InputError(
                f"{name} answers {tuple(answer.shape)} for 2 images, {images.name} has "
                f"{wanted[1]} classes and needs {wanted}; a network that does not classify takes "
                "--task outputs"
            )

    def refuse_untrained(self, figure: float, images: DataSet, *, has_weights: bool) -> None:
        """Refuse a model that only guesses: a search would measure how noise is pruned."""
        chance = 1 / len(images.classes)
        if figure > works_above(chance, len(images.val)):
            return
        advice = (
            "check --mean/--std (the normalisation it was trained with) and that the class "
            "folders sort in the order of its outputs"
            if has_weights
            else "train longer with --baseline-epochs, or give trained --weights"
        )
        raise InputError(
            f"the dense model reads {100 * figure:.1f} % on {len(images.val)} held-out images, "
            f"near chance ({100 * chance:.1f} %): {advice}"
        )

    def loss(self, answer: Any, teacher: Any, labels: Tensor, recipe: Recipe) -> Tensor:
        """Cross-entropy, mixed with the divergence from the teacher's softened classes."""
        logits = first(answer).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if teacher is None:
            return loss
        soft = distillation(logits, first(teacher).float(), recipe.temperature)
        return (1 - recipe.alpha) * loss + recipe.alpha * soft

    def distance(self, answer: Any, dense: Any) -> Tensor:
        """Mean Kullback-Leibler divergence from the dense network's classes, in nats."""
        return distillation(first(answer).float(), first(dense).float(), 1.0)

    def probes(self, answer: Any, count: int, place: tuple[int, int, int]) -> Iterator[Tensor]:
        """Gradients of sum(v * logits), whose outer product has the Fisher information as mean."""
        logits, (begun, total, seed) = first(answer), place
        generator = torch.Generator().manual_seed(seed)
        # Drawn for all images at once, so that batches of any size see the same.
        noise = torch.randn(count, total, logits.shape[1], generator=generator)
        share = torch.softmax(logits.detach(), 1)
        for drawn in noise[:, begun : begun + len(logits)].to(logits):
            scaled = share.sqrt() * drawn
            yield ((scaled - share * scaled.sum(1, keepdim=True)) * logits).sum()

    def judge(
        self, network: nn.Module, batches: Iterable[Batch], expected: Sequence[Outputs]
    ) -> Score:
        """Cross-entropy plus the divergence from the dense network's classes, and top-1."""
        loss, right, count = 0.0, 0, 0
        for (pixels, labels), dense in zip(batches, expected, strict=True):
            logits = first(network(pixels)).float()
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            soft, target = F.log_softmax(logits, 1), F.log_softmax(dense[0], 1)
            loss += float(F.kl_div(soft, target, reduction="sum", log_target=True))
            right += int((logits.argmax(1) == labels).sum())
            count += len(labels)
        return Score(loss / count, right / count)

    def measured(self, network: nn.Module, dense: nn.Module, images: Images) -> float:
        """Top-1, 0..1."""
        return evaluate(network, images).accuracy

    def reference(self, dense: nn.Module, images: DataSet) -> Tensor:
        """Which test images the dense network gets right, (N,) of bool."""
        return evaluate(dense, images.test).right

    def compared(self, reference: Tensor, slim: nn.Module, images: DataSet) -> Compared:
        """Top-1 of both, and on how many images one of them alone is right."""
        right = evaluate(slim, images.test).right
        ours, theirs = top1(reference), top1(right)
        return Compared(
            dense=ours,
            slim=theirs,
            of_dense={
                "accuracy_dense": ours,
                "dense_answers": kept_answers(reference, images.fingerprint),
            },
            of_slim={"accuracy_slim": theirs, "answers": paired(reference, right)},
        )

    def lost(self, dense: float, slim: float) -> float:
        """Percentage points of accuracy."""
        return 100 * (dense - slim)


def _some(names: Sequence[str]) -> str:
    """The first few names, as one line."""
    shown = ", ".join(map(str, names[:3]))
    return one_line(shown if len(names) <= 3 else f"{shown}, ...")


def works_above(chance: float, images: int) -> float:
    """The accuracy above which a model is taken to have learnt something.

    Three standard deviations of guessing and a quarter of chance above it, but no more than
    halfway to 1: on a handful of images even a perfect model would not stand out by the first.
    """
    # Standard deviation of the share of right guesses among so many images.
    noise = 3 * math.sqrt(chance * (1 - chance) / images)
    return chance + min(max(noise, 0.25 * chance), 0.5 * (1 - chance))
