"""What the evaluator is asked and what it answers, as plain records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeprune.prune.training.task import Score as Score

Kind = Literal["F1", "refit", "F2"]
PlainPlan = tuple[tuple[str, tuple[int, ...]], ...]
"""Group names in order, each with the indices that stay."""


@dataclass(frozen=True)
class Task:
    """One score to compute.

    Attributes:
        kind: Which of the evaluator's scores.
        kept: What the network keeps.
        steps: Training steps before it is scored; 0 but for F2.
    """

    kind: Kind
    kept: PlainPlan
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One answer of the evaluator, for the record of what a search tried.

    Attributes:
        kind: ``F1``, ``refit`` or ``F2``.
        kept: Number of channels kept, by group name.
        steps: Training steps before it was scored.
        score: How the network did.
        seconds: Time since the evaluator was made.
        rule: Name of the pruning rule that made the network; empty where a search did.
        shared: Whether the search of another target computed it.
    """

    kind: Kind
    kept: Mapping[str, int]
    steps: int
    score: Score
    seconds: float
    rule: str
    shared: bool = False


def tally(scored: Iterable[Scored]) -> dict[Kind, dict[str, int]]:
    """By kind of score the networks asked for, and those that another target's search scored.

    A network that is distilled for longer counts again.
    """
    asked = {
        (each.kind, tuple(each.kept.items()), each.steps, each.score): each for each in scored
    }
    found: dict[Kind, dict[str, int]] = {}
    for each in asked.values():
        counts = found.setdefault(each.kind, {"scored": 0, "shared": 0})
        counts["scored"] += 1
        counts["shared"] += each.shared
    return found


class Answers(Protocol):
    """Computes scores somewhere."""

    @property
    def at_once(self) -> int:
        """How many tasks it is worth to give together."""

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Score]:
        """The scores in the order of the tasks; what is not taken need not be computed."""
