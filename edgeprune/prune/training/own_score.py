"""A score of the user's own in place of a task's: it judges networks, the task trains them."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Batch, Images
from edgeprune.prune.models.placement import best_device, working_copy
from edgeprune.prune.training.evaluation import BATCH
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.task import Compared, Figure, Outputs, Score, Task, TaskName
from edgeprune.text import error_line

MOST_BYTES = 1 << 30  # of float32 images that the score is given at once
ScoreFunction = Callable[..., float]


@dataclass(frozen=True)
class OwnScore:
    """See :class:`~edgeprune.prune.training.task.Task`.

    Attributes:
        task: What trains the networks.
        score: ``score(model, images)`` or ``score(model, images, targets)``: a number, the
            higher the better.
    """

    figure: ClassVar[Figure] = Figure(
        name="score", unit="", scale=1, budget="score_drop", lost="loses {:.4g} of the score"
    )
    task: Task
    score: ScoreFunction

    @property
    def name(self) -> TaskName:
        """That of the task."""
        return self.task.name

    @property
    def identity(self) -> tuple[str, ...]:
        """The task, and what the score is called: its code is the caller's."""
        return (self.name, named(self.score))

    def refuse(self, network: nn.Module, name: str, images: DataSet) -> None:
        """What the task refuses, and targets that nobody knows."""
        self.task.refuse(network, name, images)
        if takes_targets(self.score) and not images.has_targets:
            raise InputError(
                f"score= takes targets, and {images.name} has none: pass data that gives (image, "
                "target), or take a score of (model, images)"
            )

    def refuse_untrained(self, figure: float, images: DataSet, *, has_weights: bool) -> None:
        """Nothing is known of the scores that untrained networks have."""

    def loss(self, answer: Any, teacher: Any, labels: Tensor, recipe: Recipe) -> Tensor:
        """That of the task."""
        return self.task.loss(answer, teacher, labels, recipe)

    def distance(self, answer: Any, dense: Any) -> Tensor:
        """That of the task."""
        return self.task.distance(answer, dense)

    def probes(self, answer: Any, count: int, place: tuple[int, int, int]) -> Iterator[Tensor]:
        """Those of the task."""
        return self.task.probes(answer, count, place)

    def judge(
        self, network: nn.Module, batches: Iterable[Batch], expected: Sequence[Outputs]
    ) -> Score:
        """Minus the score: a search minimises."""
        return Score(-self._of(network, batches))

    def measured(self, network: nn.Module, dense: nn.Module, images: Images) -> float:
        """The score."""
        return self._measured(network, images)

    def _measured(self, network: nn.Module, images: Images) -> float:
        device = best_device()
        return self._of(working_copy(network, device).eval(), images.to(device).batches(BATCH))

    def reference(self, dense: nn.Module, images: DataSet) -> float:
        """The dense network's score."""
        return self._measured(dense, images.test)

    def compared(self, reference: float, slim: nn.Module, images: DataSet) -> Compared:
        """Both scores."""
        found = self._measured(slim, images.test)
        record = {"name": named(self.score), "dense": reference, "slim": found}
        return Compared(dense=reference, slim=found, of_slim={"score": record})

    def lost(self, dense: float, slim: float) -> float:
        """What the score fell by."""
        return dense - slim

    def _of(self, network: nn.Module, batches: Iterable[Batch]) -> float:
        pixels, targets, taken = list[Tensor](), list[Tensor](), 0
        for images, known in batches:
            pixels.append(images)
            targets.append(known)
            taken += images.numel() * images.element_size()
            if taken >= MOST_BYTES:
                break
        given = [torch.cat(pixels), torch.cat(targets)]
        try:
            with torch.no_grad():
                found = float(self.score(network, *given[: 1 + takes_targets(self.score)]))
        except Exception as error:  # the user's own code
            raise InputError(f"score= failed: {error_line(error)}") from error
        if not math.isfinite(found):
            raise InputError(
                f"score= returned {found}, no finite number; return one for any network"
            )
        return found


def takes_targets(score: ScoreFunction) -> bool:
    """Whether a score takes three arguments.

    Raises:
        InputError: it takes neither two nor three.
    """
    try:
        parameters = inspect.signature(score).parameters.values()
    except (TypeError, ValueError):
        raise InputError(
            "score= has to be a function of (model, images) or (model, images, targets)"
        ) from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in positional)
    if needed not in (2, 3):
        raise InputError(
            f"score= takes {needed} arguments; give a function of (model, images) or (model, "
            "images, targets)"
        )
    return needed == 3


def named(score: ScoreFunction) -> str:
    """What a score is called in records."""
    return str(getattr(score, "__name__", type(score).__name__))
