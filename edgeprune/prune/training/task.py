"""The task of a network: what it is trained by, what its score and its final figure are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Batch, Images
from edgeprune.prune.training.recipe import Recipe

TaskName = Literal["classification", "outputs"]
Budget = Literal["accuracy_drop", "output_error", "score_drop"]
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Score:
    """How a network does on the validation images.

    Attributes:
        loss: What a search minimises: cross-entropy plus the divergence from the dense network's
            classes in nats, the mean relative error of the outputs, or minus the user's score.
        accuracy: Top-1, 0..1; None where no classes are known.
    """

    loss: float
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What the result of a task is called.

    Attributes:
        name: Its row in the summary.
        unit: Its unit there.
        scale: From the figure to that unit.
        budget: The budget of a target that limits it.
        lost: What the budget limits, in words, with a place for the number.
    """

    name: str
    unit: str
    scale: float
    budget: Budget
    lost: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The dense network and a slim one on the test images.

    Attributes:
        dense: The figure of the dense network.
        slim: That of the slim one.
        of_dense: What the files of both record of the dense one.
        of_slim: What the slim one's file records beside it.
        told: What else is worth a line.
    """

    dense: float
    slim: float
    of_dense: Mapping[str, Any] = field(default_factory=dict)
    of_slim: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()


class Task(Protocol):
    """What networks are made for; what they return comes as it is, in whatever structure."""

    @property
    def name(self) -> TaskName:
        """The word that asks for it."""

    @property
    def figure(self) -> Figure:
        """What its result is called."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What scores that are kept depend on; nothing for a classification."""

    def refuse(self, network: nn.Module, name: str, images: DataSet) -> None:
        """Raise InputError for a network that cannot do it, before anything is trained."""

    def refuse_untrained(self, figure: float, images: DataSet, *, has_weights: bool) -> None:
        """Raise InputError where the figure of the dense network says that it learnt nothing."""

    def loss(self, answer: Any, teacher: Any, labels: Tensor, recipe: Recipe) -> Tensor:
        """What is minimised in training, of one batch; the teacher's answer may be None."""

    def distance(self, answer: Any, dense: Any) -> Tensor:
        """How far an answer to a batch is from the dense network's; 0 where they are equal."""

    def probes(self, answer: Any, count: int, place: tuple[int, int, int]) -> Iterator[Tensor]:
        """Numbers whose gradients have the curvature of the distance as mean outer product.

        Args:
            answer: To a batch of images.
            count: How many.
            place: Number of the batch's first image, of all images, and the seed.
        """

    def judge(
        self, network: nn.Module, batches: Iterable[Batch], expected: Sequence[Outputs]
    ) -> Score:
        """Score a network in evaluation mode by the dense one's outputs for the same batches."""

    def measured(self, network: nn.Module, dense: nn.Module, images: Images) -> float:
        """The figure of a network on all images, in float32."""

    def reference(self, dense: nn.Module, images: DataSet) -> Any:
        """What comparisons need of the dense network on the test images, made once for all."""

    def compared(self, reference: Any, slim: nn.Module, images: DataSet) -> Compared:
        """The final figures on the test images, and what is recorded of them."""

    def lost(self, dense: float, slim: float) -> float:
        """What the budget limits, from the figures of the dense network and a slim one."""
