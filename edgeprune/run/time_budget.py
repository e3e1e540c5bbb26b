"""The time budget of a run: what is left of it, and what fine-tuning and check are to have."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeprune.text import duration

CHECK_SECONDS = 30.0  # measuring candidates, export, parity, the gate; an estimate
REFIT_STEPS = 3.0  # a refit takes about as long as so many training steps; an estimate


@dataclass(kw_only=True)
class TimeBudget:
    """The wall time that a run may take, fine-tuning included as far as it can be planned.

    The search gets what is left when the rest is taken off: refitting and distilling its best,
    fine-tuning each model that is still to come, and the check. What a training step takes is
    measured on a network of about the size that is looked for.

    Attributes:
        seconds: The budget; None for none.
        used: Seconds that earlier sessions of the same run took.
        models: Models that are still to be fine-tuned.
        step_seconds: Time of a training step, as measured; 0 before that.
        notes: What the budget cut short, a line each.
        clock: Tells the time in seconds.
    """

    seconds: float | None = None
    used: float = 0.0
    models: int = 1
    step_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    _reserved: float = 0.0
    _choosing: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds that the run took so far, in all of its sessions."""
        return self.used + self.clock() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left; infinite without a budget, negative where it is overdrawn."""
        return float("inf") if self.seconds is None else self.seconds - self.spent

    def plan(self, training: int, distilling: int, refits: int) -> str:
        """Set aside what comes after the search; ``step_seconds`` has been measured.

        Args:
            training: Steps of the fine-tuning of one model.
            distilling: Steps of distillation before one is chosen.
            refits: Networks that are refitted before.

        Returns:
            What is planned, one line.
        """
        each = training * self.step_seconds
        choosing = (distilling + REFIT_STEPS * refits) * self.step_seconds
        models = max(1, self.models)
        self._reserved, self._choosing = models * each + CHECK_SECONDS, choosing
        times = f"{models} x " if models > 1 else ""
        left = self.search_left()
        search = f"{duration(left)} for scoring" if left > 0 else "no time for more than the rules"
        return (
            f"time budget {duration(self.seconds or 0)}, {duration(self.left)} left: {search}; "
            f"estimated for what follows: choosing {duration(choosing)}, fine-tuning "
            f"{times}{duration(each)} ({training} steps of {self.step_seconds:.2f} s), measuring "
            f"and check {duration(CHECK_SECONDS)}"
        )

    def search_left(self) -> float:
        """Seconds that are left for scoring networks."""
        return self.left - self._reserved - self._choosing

    def choosing_left(self) -> float:
        """Seconds that are left for scoring, refitting and distilling networks."""
        return self.left - self._reserved

    def affordable(self, steps: int, least: int) -> int:
        """Steps of the next fine-tuning: those asked for, or as many as there is time for.

        Args:
            steps: What was asked for.
            least: Steps that are taken whatever the time, since less would leave a broken model.
        """
        if self.seconds is None or not self.step_seconds:
            return steps
        share = (self.left - CHECK_SECONDS) / max(1, self.models)
        return min(steps, max(least, int(share / self.step_seconds)))

    def told(self) -> list[str]:
        """What the budget cut short, and whether the run took longer, a line each."""
        if self.left >= 0:
            return list(self.notes)
        over = f"the run took {duration(self.spent)}, its budget was {duration(self.seconds or 0)}"
        return [*self.notes, f"{over}: what follows the search is an estimate"]

    def to_plain(self) -> dict[str, Any]:
        """What run.json keeps."""
        return {"budget": self.seconds, "used": round(self.spent, 1), "notes": list(self.notes)}
