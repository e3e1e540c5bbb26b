"""Findings of the doctor: a cause, the layer it is at, what was tried, and what that saved."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgeprune.deploy.devices.job import Model
from edgeprune.deploy.timing.protocol import Comparison
from edgeprune.deploy.timing.statistics import Interval

LEAST = 4  # epochs: with fewer an interval is too wide to say anything

Status = Literal["saves", "costs", "inconclusive", "untried"]
# The causes that are looked for, each with the words for a file that is free of it.
CAUSES = {
    "off-grid channels": "every convolution that could be on the blocked layout is",
    "weights as graph inputs": "no weight is an input of the graph",
    "denormal weights": "no weight is too small for a normal float32",
    "exporter clutter": "no node of the file does nothing",
    "open axes": "the file says every size",
    "mean instead of pooling": "no mean over height and width that could be a pooling",
    "grouped convolutions": "no grouped convolution without a fast kernel",
    "layout reorders": "no time goes into changes of layout",
    "float islands": "no float layer in an int8 file",
    "another provider": "every node runs on the first provider",
    "one layer dominates": "no first layer or classifier takes most of the time",
    "session options": "no session option is measurably faster",
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A change that can be timed.

    Attributes:
        change: What is changed, one phrase.
        model: The file with the change.
        same_answers: Whether the changed file answers as the file does.
    """

    change: str
    model: Model
    same_answers: bool = True


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A cause seen in the graph or the profile, before anything of it is tried.

    Attributes:
        cause: One of ``CAUSES``.
        layer: Where it is.
        what: What was seen, one line.
        stake_ms: Time of the layers that it touches: the most that it can cost.
        trials: Changes that would take it away.
        next: What to do about it, a command where there is one.
    """

    cause: str
    layer: str
    what: str
    stake_ms: float
    trials: tuple[Trial, ...] = ()
    next: str


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A change, timed in turn with the file as it is.

    Attributes:
        change: What was changed.
        same_answers: Whether the changed file answers as the file does.
        status: ``untried`` where the time did not reach or onnxruntime refused the change.
        ratio: Time with the change over time without, with 99 %.
        saved_ms: What the change saves, with 99 %; negative where it costs.
        epochs: Fresh pairs of sessions.
        reason: Why it was not tried.
    """

    change: str
    same_answers: bool
    status: Status
    ratio: Interval | None = None
    saved_ms: Interval | None = None
    epochs: int = 0
    reason: str = ""

    def describe(self) -> str:
        """One line."""
        answers = "" if self.same_answers else " (other answers: speed only)"
        if self.ratio is None or self.saved_ms is None:
            return f"{self.change}{answers}: not tried, {self.reason}"
        low, ratio, high = self.ratio
        least, saved, most = self.saved_ms
        words = {
            "saves": f"saves {saved:.3f} ms [{least:.3f}, {most:.3f}]",
            "costs": f"costs {-saved:.3f} ms [{-most:.3f}, {-least:.3f}]",
        }
        said = words.get(
            self.status, f"inconclusive, between {least:+.3f} and {most:+.3f} ms saved"
        )
        return f"{self.change}{answers}: {ratio:.3f}x [{low:.3f}, {high:.3f}], {said}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A cause with what trying its changes showed.

    Attributes:
        cause: One of ``CAUSES``.
        layer: Where it is.
        what: What was seen.
        stake_ms: Time of the layers that it touches, by their share of the profile.
        tried: Its changes.
        next: What to do about it.
    """

    cause: str
    layer: str
    what: str
    stake_ms: float
    tried: tuple[Tried, ...] = field(default=())
    next: str

    @property
    def best(self) -> Tried | None:
        """The change that saves most; None where none was timed."""
        timed = [each for each in self.tried if each.saved_ms]
        return max(timed, key=lambda each: each.saved_ms.mid if each.saved_ms else 0, default=None)

    @property
    def status(self) -> Literal["saves", "inconclusive", "costs", "profiled", "untried"]:
        """``saves`` where a change surely helps; ``profiled`` where nothing can be tried."""
        found = {each.status for each in self.tried}
        if not found:
            return "profiled"
        order: tuple[Status, ...] = ("saves", "inconclusive", "costs", "untried")
        return next(status for status in order if status in found)

    @property
    def rank(self) -> tuple[int, float]:
        """First what surely helps, by how much; then what may; last what does not."""
        saved = self.best.saved_ms if self.best else None
        if self.status == "saves" and saved:
            return 0, -saved.mid
        if self.status == "inconclusive" and saved:
            return 1, -min(self.stake_ms, max(0.0, saved.high))
        return (2 if self.status == "costs" else 1), -self.stake_ms


def tried(trial: Trial, found: Comparison) -> Tried:
    """What a comparison of the changed file with the file says."""
    interval, median = found.interval, found.reference.median_ms
    if interval is None or len(found.epochs) < LEAST:
        reason = f"the time reached for {len(found.epochs)} of {LEAST} pairs of sessions"
        return untried(trial, reason)
    low, mid, high = interval
    status: Status = "saves" if high < 1 else "costs" if low > 1 else "inconclusive"
    return Tried(
        change=trial.change,
        same_answers=trial.same_answers,
        status=status,
        ratio=interval,
        saved_ms=Interval(median * (1 - high), median * (1 - mid), median * (1 - low)),
        epochs=len(found.epochs),
    )


def untried(trial: Trial, reason: str) -> Tried:
    """A change that was not timed."""
    return Tried(
        change=trial.change, same_answers=trial.same_answers, status="untried", reason=reason
    )


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The most promising first."""
    return tuple(sorted(findings, key=lambda finding: finding.rank))
