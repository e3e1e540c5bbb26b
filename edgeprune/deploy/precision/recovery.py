"""Quantises a network, and wins back what that costs step by step, until it is little enough."""

from dataclasses import dataclass, replace
from functools import partial

import onnx

from edgeprune.deploy.artifact.parity import ParityReport
from edgeprune.deploy.precision import exclusion
from edgeprune.deploy.precision.bias import corrected
from edgeprune.deploy.precision.exclusion import FEW
from edgeprune.deploy.precision.layers import layer_names
from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.ranges import Method, observed
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.trials import Aim, Best, Quantiser, State, Step, Trials
from edgeprune.progress import Progress, silent


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
    run = Trials(proto, quantiser, aim or Aim(), progress)
    state = _first(proto, quantiser)
    best = run.tried(f"ranges: {state.method}", state, None)
    for step in (_bias, _percentile, exclusion.for_accuracy):
        if run.enough(best):
            break
        best = step(run, best)
    if quantiser.precision.exclude == "auto" and run.aim.timed is not None:
        best = exclusion.for_speed(run, best, run.aim.timed)
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


def plainly(proto: onnx.ModelProto, quantiser: Quantiser) -> onnx.ModelProto:
    """Quantise without measuring what it costs: the first of the steps, for timing or ranking.

    Raises:
        As :func:`recovered`.
    """
    state = _first(proto, quantiser)
    return quantised(proto, state.ranges, quantiser.scheme, state.excluded)


def _first(proto: onnx.ModelProto, quantiser: Quantiser) -> State:
    wanted = quantiser.precision.calibration_method
    method: Method = "minmax" if wanted == "auto" else wanted
    excluded = exclusion.named(proto, quantiser.precision.exclude)
    return State(proto, observed(proto, quantiser.images, method), method, excluded)


def _bias(run: Trials, best: Best) -> Best:
    few = run.images[:FEW]
    state = best.state
    make = partial(
        quantised, ranges=state.ranges, scheme=run.quantiser.scheme, exclude=state.excluded
    )
    return run.tried(
        "bias correction", replace(state, source=corrected(run.proto, make, few)), best
    )


def _percentile(run: Trials, best: Best) -> Best:
    if run.quantiser.precision.calibration_method != "auto":
        return best
    ranges = observed(run.proto, run.images, "percentile")
    state = replace(best.state, ranges=ranges, method="percentile")
    return run.tried("ranges: percentile", state, best)
