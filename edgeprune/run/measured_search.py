"""Which slim network keeps the latency budget when it is measured, not only predicted?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from edgeprune.arrays import Floats
from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import MachineError, PromiseError
from edgeprune.export.exporter import to_onnx
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Costs, Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.widths import PruningSpace
from edgeprune.prune.tracing.trace import Trace
from edgeprune.target import TargetProfile

ATTEMPTS = 4
Search = Callable[[Limits], Choice]
_COSTS = ("latency", "latency"), ("MACs", "macs"), ("params", "params")  # in words, as an option


class UnreachedError(PromiseError):
    """A limit that nothing found keeps.

    Attributes:
        found: What was tried, and what can be had.
        cost: ``latency``, ``macs`` or ``params``.
        best: The lowest share of the dense model's that was had.
    """

    def __init__(self, found: str, cost: str, best: float) -> None:
        super().__init__(f"{found}; raise --max-{cost}-ratio")
        self.found, self.cost, self.best = found, cost, best


@dataclass(frozen=True)
class Timing:
    """A target with the budget that was asked for, and the device it is measured on."""

    profile: TargetProfile
    device: Device

    def options(self, baseline: Path | None = None) -> Options:
        """For the gate."""
        return Options(baseline=baseline, device=self.device)


@dataclass(frozen=True)
class Field:
    """What candidates are drawn from and measured against.

    Attributes:
        model: Name of the dense model.
        trace: The dense model with its channels followed.
        space: Legal widths.
        costs: Predicted shares of the dense costs.
        error: Mean relative error of the predicted latency on networks it was not fitted to.
        dense: The dense model as exported.
        timing: How and where to measure.
    """

    model: str
    trace: Trace
    space: PruningSpace
    costs: Costs
    error: float
    dense: onnx.ModelProto
    timing: Timing


@dataclass(frozen=True)
class Candidate:
    """A choice and its latency over the dense model's, measured with its final widths."""

    choice: Choice
    measured: Interval


def settle(
    field: Field, search: Search, limits: Limits, who: str = "the search"
) -> Iterator[Candidate]:
    """Search, measure, and search again with a tighter aim until the budget is kept.

    Args:
        field: What is measured, and against what.
        search: From limits to a choice that keeps them, or the one that comes closest.
        limits: What was asked for.
        who: Is named where the budget is not reached.

    Yields:
        Every candidate as it is measured; the last one keeps the budget.

    Raises:
        UnreachedError: no candidate does, or one misses the MACs or parameters, which are counted
            and not measured; the message says what can be had.
    """
    refuse_out_of_reach(field, limits)
    floor, aim, best = _floor(field)[0], _cautious(limits, field), np.inf
    for _ in range(ATTEMPTS):
        choice = search(aim)
        _refuse_missed_counts(choice, limits)
        candidate = Candidate(choice, _measured(field, choice, limits.latency))
        yield candidate
        if limits.latency is None or candidate.measured.high <= limits.latency:
            return
        best = min(best, candidate.measured.high)
        if choice.ratios[0] <= floor or _at_its_end(choice, aim):
            break
        # The table was this much too hopeful here; 1 % more keeps a tie from costing a turn.
        hope = choice.ratios[0] / candidate.measured.high
        tighter = 0.99 * min(aim.latency or 1.0, limits.latency * hope)
        aim = replace(aim, latency=max(floor, tighter))
    raise UnreachedError(
        f"{who} does not reach latency {limits.latency:g}x: the best that can be had is "
        f"{best:.3f}x (measured)",
        "latency",
        best,
    )


def _at_its_end(choice: Choice, aim: Limits) -> bool:
    """A strategy that came only close has nothing faster: a tighter aim would find it again."""
    return aim.latency is not None and bool(choice.ratios[0] > aim.latency * (1 + 1e-9))


def _cautious(limits: Limits, field: Field) -> Limits:
    """Leave room for the error of the table, but never ask for less than the grid allows.

    At least 3 %: the final check, a minute later, reads up to 1 % off what a candidate read, and
    an interval that only touches the limit costs another search.
    """
    if limits.latency is None:
        return limits
    margin = min(max(field.error, 0.03), 0.05)
    return replace(limits, latency=max(_floor(field)[0], limits.latency * (1 - margin)))


def refuse_out_of_reach(field: Field, limits: Limits) -> None:
    """Say at once, from predictions, what no choice of widths can keep.

    MACs and parameters are exact. A latency limit within the table's error of the lowest
    prediction is let through: only measuring tells.

    Raises:
        UnreachedError: a limit lies below the lowest cost on the grid.
    """
    doubt = np.array([1 + field.error, 1.0, 1.0])
    floor = _floor(field)
    for row, least, limit in zip(_COSTS, floor, limits.vector() * doubt, strict=True):
        if least > limit:
            raise _beyond(row, getattr(limits, row[1]), "no widths on the grid bring", least)


def _refuse_missed_counts(choice: Choice, limits: Limits) -> None:
    """Nothing is trained, or even measured, that is known to miss what was asked."""
    counted = list(zip(_COSTS, choice.ratios, limits.vector(), strict=True))[1:]
    for row, share, limit in counted:
        if share > limit:
            raise _beyond(row, limit, "the search did not bring", share)


def _beyond(row: tuple[str, str], limit: float, who: str, best: float) -> UnreachedError:
    return UnreachedError(
        f"{who} {row[0]} down to {limit:g}x of the dense model: the best that can be had is "
        f"{best:.3f}x (predicted)",
        row[1],
        best,
    )


def _floor(field: Field) -> Floats:
    """Lowest predicted shares of latency, MACs and params that the grid allows."""
    least = np.array([[grid[0] for grid in field.space.grids]], np.int64)
    shares: Floats = field.costs.ratios(field.space.settle(least))[0]
    return shares


def _measured(field: Field, choice: Choice, limit: float | None) -> Interval:
    """Weights do not change the latency, so nothing has to be trained for it."""
    network = slim(field.trace, choice.plan(field.model))
    shape = _shape(field)
    proto = to_onnx(network, shape)
    setting = field.timing.options().setting(field.timing.profile, shape)
    pair = proto.SerializeToString(), field.dense.SerializeToString()
    interval = protocol.compare(*pair, setting, limit=limit).interval
    if interval is None:
        raise MachineError("too few epochs to compare; raise measure.max_seconds of the target")
    return interval


def dense_ms(field: Field) -> tuple[float, str]:
    """The dense model's median latency in ms as a p50 budget judges it, and the device's name."""
    setting = field.timing.options().setting(field.timing.profile, _shape(field))
    wall = setting if setting.clock == "cpu" else replace(setting, clock="wall")
    report = protocol.measure(field.dense.SerializeToString(), wall)
    return report.median_ms, identify(report.machine)


def _shape(field: Field) -> tuple[int, ...]:
    return tuple(d.dim_value for d in field.dense.graph.input[0].type.tensor_type.shape.dim)
