"""Trials of quantised networks: what each is made of, what it loses, and the best so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.parity import ParityReport, compare
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.qdq import Ranges, quantised
from edgeprune.deploy.precision.ranges import Method
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.progress import Progress
from edgeprune.target import Parity, Precision, Runtime

Lost = Callable[[onnx.ModelProto], float]
Timed = Callable[[Sequence[Path], Path], Sequence[Interval]]  # of files, over another one


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """How networks are quantised for one target on one device.

    Attributes:
        images: Calibration images, each (1, C, H, W) as the network takes it.
        precision: Method, and how much may stay in float.
        scheme: Number formats.
        runtime: How a network is opened.
        parity: How near the logits have to be to those in fp32, whatever else is measured.
    """

    images: Sequence[Floats32]
    precision: Precision
    scheme: Scheme
    runtime: Runtime
    parity: Parity = field(default_factory=Parity)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the recovery and what it came to.

    Attributes:
        name: What was done.
        sqnr_db: Signal to error ratio of the logits on the calibration images.
        agreement: Share of these images with the same first class, 0..1.
        lost: Points of accuracy lost against the dense network; None where nobody measures it.
        kept: Whether it is better than what was there, and stays.
    """

    name: str
    sqnr_db: float
    agreement: float
    lost: float | None
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Aim:
    """When the recovery is done.

    Attributes:
        lost: Measures points of accuracy lost; without it the logits alone judge.
        allowed: Points that may be lost.
        timed: Times networks on the device against another one; without it, layers are left in
            float by what they win alone, and none because it is faster there.
    """

    lost: Lost | None = None
    allowed: float = float("inf")
    timed: Timed | None = None


@dataclass(frozen=True)
class State:
    """What a quantised network is made of."""

    source: onnx.ModelProto
    ranges: Ranges
    method: Method
    excluded: tuple[str, ...] = ()

    def leaving(self, node: str) -> "State":
        """The same with one node more in float."""
        return replace(self, excluded=(*self.excluded, node))


@dataclass(frozen=True)
class Best:
    """A network that was tried, and what it loses; ``near``: its logits are as near as asked."""

    state: State
    proto: onnx.ModelProto
    fidelity: ParityReport
    lost: float | None
    near: bool

    def better(self, other: "Best") -> bool:
        """Whether it is near enough where the other is not, or loses less.

        That is accuracy where it is measured, else the logits' signal to error ratio.
        """
        if self.near != other.near:
            return self.near
        if self.lost is not None and other.lost is not None and self.lost != other.lost:
            return self.lost < other.lost
        return self.fidelity.sqnr_db > other.fidelity.sqnr_db


class Trials:
    """The steps so far."""

    def __init__(
        self, proto: onnx.ModelProto, quantiser: Quantiser, aim: Aim, progress: Progress
    ) -> None:
        self.proto, self.aim, self.progress = proto, aim, progress
        self.quantiser, self.images = quantiser, quantiser.images
        self.steps: list[Step] = []
        self.wanted = self.logits(proto, self.images)  # (N, classes)

    def made(self, state: State) -> onnx.ModelProto:
        """The quantised network of a state."""
        return quantised(state.source, state.ranges, self.quantiser.scheme, state.excluded)

    def logits(self, proto: onnx.ModelProto, images: Sequence[Floats32]) -> Floats32:
        """Answers (N, classes) as the target runs it."""
        session = open_session(proto.SerializeToString(), self.quantiser.runtime)
        return session.answers(images)

    def fidelity(self, proto: onnx.ModelProto, images: Sequence[Floats32]) -> ParityReport:
        """Logits against those in fp32, on the first calibration images."""
        found = self.logits(proto, images)
        return compare(self.wanted[: len(images)], found, atol=np.inf, rtol=0.0)

    def tried(
        self, name: str, state: State, best: Best | None, *, unless_worse: bool = False
    ) -> Best:
        """Judge a state, and keep it where it is better than the best so far.

        One that is faster (``unless_worse``) stays where it loses no more, or no more than may be.
        """
        self.progress(name, len(self.steps), len(self.steps) + 1)
        proto = self.made(state)
        fidelity = self.fidelity(proto, self.images)
        lost = float(self.aim.lost(proto)) if self.aim.lost else None
        found = Best(state, proto, fidelity, lost, fidelity.near(self.quantiser.parity))
        kept = best is None or found.better(best)
        if best is not None and unless_worse:
            kept = not self._loses_more(found, best)
        self.steps.append(
            Step(
                name=name,
                sqnr_db=fidelity.sqnr_db,
                agreement=fidelity.top1_agreement,
                lost=lost,
                kept=kept,
            )
        )
        return found if best is None or kept else best

    def _loses_more(self, found: Best, best: Best) -> bool:
        """Whether a change that is for speed costs too much of something else."""
        if best.near and not found.near:
            return True
        if found.lost is not None and best.lost is not None:
            return found.lost > max(best.lost, self.aim.allowed)
        return found.fidelity.sqnr_db < min(best.fidelity.sqnr_db, self.quantiser.parity.sqnr_db)

    def enough(self, best: Best) -> bool:
        """Whether the logits are near, and little enough is lost where that is measured."""
        return best.near and (best.lost is None or best.lost <= self.aim.allowed)
