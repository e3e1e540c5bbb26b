"""Quantises a network, and wins back what that costs step by step, until it is little enough."""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.parity import ParityReport, compare
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.bias import corrected
from edgeprune.deploy.precision.layers import WEIGHTED, layer_names
from edgeprune.deploy.precision.qdq import Ranges, quantised
from edgeprune.deploy.precision.ranges import Method, observed
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.errors import InputError
from edgeprune.progress import Progress, silent
from edgeprune.target import Precision, Runtime
from edgeprune.text import did_you_mean, one_line

Lost = Callable[[onnx.ModelProto], float]
Timed = Callable[[Sequence[onnx.ModelProto]], Sequence[float]]
FEW = 32  # images that biases are corrected and layers are ranked on: each layer runs them anew
MOST_TIMED = 6  # layers that are worth timing in float


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """How networks are quantised for one target on one device.

    Attributes:
        images: Calibration images, each (1, C, H, W) as the network takes it.
        precision: Method, and how much may stay in float.
        scheme: Number formats.
        runtime: How a network is opened.
        sqnr_db: Enough of the logits' signal to error ratio where no accuracy is measured.
    """

    images: Sequence[Floats32]
    precision: Precision
    scheme: Scheme
    runtime: Runtime
    sqnr_db: float = 20.0


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
class Quantised:
    """A quantised network.

    Attributes:
        proto: With QDQ pairs.
        float_proto: The fp32 network that it stands for.
        scheme: Number formats.
        method: How the ranges of the activations were found.
        excluded: Layers that stay in float.
        fidelity: Its logits against those of ``float_proto`` on the calibration images.
        lost: Points of accuracy lost against the dense network; None where nobody measured it.
        steps: What was tried.
    """

    proto: onnx.ModelProto
    float_proto: onnx.ModelProto
    scheme: Scheme
    method: Method
    excluded: tuple[str, ...]
    fidelity: ParityReport
    lost: float | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """When the recovery is done.

    Attributes:
        lost: Measures points of accuracy lost; without it the logits alone judge.
        allowed: Points that may be lost.
        timed: Times networks on the device, in any unit; without it, layers are left in float by
            what they win alone.
    """

    lost: Lost | None = None
    allowed: float = float("inf")
    timed: Timed | None = None


@dataclass(frozen=True)
class _State:
    """What a quantised network is made of."""

    source: onnx.ModelProto
    ranges: Ranges
    method: Method
    excluded: tuple[str, ...] = ()


class _Recovery:
    """The steps so far."""

    def __init__(
        self, proto: onnx.ModelProto, quantiser: Quantiser, aim: Aim, progress: Progress
    ) -> None:
        self.proto, self.aim, self.progress = proto, aim, progress
        self.quantiser, self.images = quantiser, quantiser.images
        self.steps: list[Step] = []
        self.wanted = self.logits(proto, self.images)  # (N, classes)

    def made(self, state: _State) -> onnx.ModelProto:
        return quantised(state.source, state.ranges, self.quantiser.scheme, state.excluded)

    def logits(self, proto: onnx.ModelProto, images: Sequence[Floats32]) -> Floats32:
        session = open_session(proto.SerializeToString(), self.quantiser.runtime)
        return np.concatenate([session.run(image) for image in images])

    def fidelity(self, proto: onnx.ModelProto, images: Sequence[Floats32]) -> ParityReport:
        found = self.logits(proto, images)
        return compare(self.wanted[: len(images)], found, atol=np.inf, rtol=0.0)

    def tried(self, name: str, state: _State, best: "_Best | None") -> "_Best":
        """Judge a state, and keep it where it is better than the best so far."""
        self.progress(name, len(self.steps), len(self.steps) + 1)
        proto = self.made(state)
        fidelity = self.fidelity(proto, self.images)
        lost = float(self.aim.lost(proto)) if self.aim.lost else None
        found = _Best(state, proto, fidelity, lost)
        kept = best is None or found.better(best)
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

    def enough(self, best: "_Best") -> bool:
        """Whether little enough is lost; without a measure of it, the logits must be near."""
        if best.lost is not None:
            return best.lost <= self.aim.allowed
        return best.fidelity.sqnr_db >= self.quantiser.sqnr_db


@dataclass(frozen=True)
class _Best:
    state: _State
    proto: onnx.ModelProto
    fidelity: ParityReport
    lost: float | None

    def better(self, other: "_Best") -> bool:
        if self.lost is not None and other.lost is not None and self.lost != other.lost:
            return self.lost < other.lost
        return self.fidelity.sqnr_db > other.fidelity.sqnr_db


def recovered(
    proto: onnx.ModelProto,
    quantiser: Quantiser,
    aim: Aim | None = None,
    progress: Progress = silent,
) -> Quantised:
    """Quantise a network; where too much is lost, win it back, the cheapest step first.

    The order is: extremes as ranges; the mean error of every layer taken off its bias;
    ranges that cut 0.001 % off; the most sensitive layers left in float, those first that win
    most for the time they cost. Every step is measured, and none follows once enough is kept.

    Args:
        proto: fp32, as exported.
        quantiser: Images, number formats and what may stay in float.
        aim: When it is done; by the logits alone without one.
        progress: Called as each step begins.

    Raises:
        InputError: no images, or a layer to leave in float that is not there.
        MachineError: onnxruntime cannot calibrate, quantise or run the network.
    """
    run = _Recovery(proto, quantiser, aim or Aim(), progress)
    wanted = quantiser.precision.calibration_method
    method: Method = "minmax" if wanted == "auto" else wanted
    excluded = _named(proto, quantiser.precision.exclude)
    state = _State(proto, observed(proto, quantiser.images, method), method, excluded)
    best = run.tried(f"ranges: {method}", state, None)
    for step in (_bias, _percentile, _exclude):
        if run.enough(best):
            break
        best = step(run, best)
    return Quantised(
        proto=best.proto,
        float_proto=proto,
        scheme=quantiser.scheme,
        method=best.state.method,
        excluded=tuple(map(layer_names(proto).__getitem__, best.state.excluded)),
        fidelity=best.fidelity,
        lost=best.lost,
        steps=tuple(run.steps),
    )


def _named(proto: onnx.ModelProto, exclude: str | tuple[str, ...]) -> tuple[str, ...]:
    """Nodes of the layers that a target names, shell patterns allowed."""
    if isinstance(exclude, str):
        return ()
    names = {node: name for node, name in layer_names(proto).items() if node in _layers(proto)}
    for pattern in exclude:
        if not fnmatch.filter(names.values(), pattern):
            hint = did_you_mean(pattern, tuple(names.values()))
            raise InputError(f"precision.exclude: no layer is called {one_line(pattern)!r}{hint}")
    return tuple(
        node
        for node, name in names.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)
    )


def _layers(proto: onnx.ModelProto) -> list[str]:
    return [node.name for node in proto.graph.node if node.op_type in WEIGHTED]


def _bias(run: _Recovery, best: _Best) -> _Best:
    few = run.images[:FEW]
    state = best.state
    make = partial(
        quantised, ranges=state.ranges, scheme=run.quantiser.scheme, exclude=state.excluded
    )
    return run.tried(
        "bias correction", replace(state, source=corrected(run.proto, make, few)), best
    )


def _percentile(run: _Recovery, best: _Best) -> _Best:
    if run.quantiser.precision.calibration_method != "auto":
        return best
    ranges = observed(run.proto, run.images, "percentile")
    state = replace(best.state, ranges=ranges, method="percentile")
    return run.tried("ranges: percentile", state, best)


def _exclude(run: _Recovery, best: _Best) -> _Best:
    """Leave layers in float one after another, as many as the profile lets stay there."""
    if run.quantiser.precision.exclude != "auto":
        return best
    convolutions = [n.name for n in run.proto.graph.node if n.op_type == "Conv"]
    spare = int((1 - run.quantiser.precision.min_integer_conv_fraction) * len(convolutions) + 1e-9)
    names = layer_names(run.proto)
    for name in _sensitive(run, best):
        excluded = (*best.state.excluded, name)
        if sum(each in convolutions for each in excluded) > spare:
            continue
        best = run.tried(f"{names[name]} in float", replace(best.state, excluded=excluded), best)
        if run.enough(best):
            break
    return best


def _sensitive(run: _Recovery, best: _Best) -> list[str]:
    """Layers in the order of what each wins in float, in dB, over the time it costs there."""
    few = run.images[:FEW]
    before = run.fidelity(best.proto, few).sqnr_db
    layers = _layers(run.proto)
    alone = {name: run.made(replace(best.state, excluded=(name,))) for name in layers}
    won = {name: run.fidelity(made, few).sqnr_db - before for name, made in alone.items()}
    ranked = sorted((n for n in layers if won[n] > 0), key=lambda name: -won[name])[:MOST_TIMED]
    if run.aim.timed is None or not ranked:
        return ranked
    times = run.aim.timed([best.proto, *(alone[name] for name in ranked)])
    # A layer that is no slower in float costs nothing; one part in a thousand keeps the order.
    cost = {n: max(t / times[0] - 1, 1e-3) for n, t in zip(ranked, times[1:], strict=True)}
    return sorted(ranked, key=lambda name: -won[name] / cost[name])
