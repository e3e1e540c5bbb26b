"""Searches, measures the choice, and searches under tighter limits until it keeps those asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from onnx import ModelProto
from torch import nn

from edgeprune.arrays import Floats
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import MachineError, PromiseError
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice

ATTEMPTS = 4  # one search each; a table that is off by 5 % is corrected in one or two
# The final check, a minute later, reads up to 1 % off what a candidate read, and an interval
# that only touches the limit costs another search: search at least 3 % lower, at most 5 %.
LEAST_MARGIN, MOST_MARGIN = 0.03, 0.05
NEAR = 0.01  # of the limit: a candidate that keeps it by less is timed once more
ROOM = 0.93  # of the limit: below that an int8 search may take a larger network
Search = Callable[[Limits], Choice]
_COSTS = ("latency", "latency"), ("MACs", "macs"), ("params", "params")  # in words, as an option


class UnreachedError(PromiseError):
    """A limit that nothing found keeps.

    Attributes:
        found: What was tried, and what can be had.
        cost: ``latency``, ``macs`` or ``params``.
        best: The lowest ratio to the dense model's cost that was found.
    """

    def __init__(self, found: str, cost: str, best: float) -> None:
        super().__init__(f"{found}; raise --max-{cost}-ratio")
        self.found, self.cost, self.best = found, cost, best


class Timing(Protocol):
    """Says how slow networks are on the device, as far as the device is here."""

    @property
    def setting(self) -> Setting:
        """Device, clock and runtime."""
        ...

    def ratio(self, network: nn.Module, limit: float | None) -> Interval | None:
        """The measured latency of a network over the dense model's; None where none can be."""
        ...

    def dense_ms(self) -> tuple[float, str]:
        """The dense model's latency in ms, and the fingerprint of its device."""
        ...


@dataclass(frozen=True)
class Untimed:
    """Takes the place of timing where only a table of the device is here: nothing is measured.

    Attributes:
        setting: Runtime of the target; nothing is timed with it.
        dense: Predicted ms of the dense model on the device.
        fingerprint: That device.
    """

    setting: Setting
    dense: float
    fingerprint: str

    def ratio(self, network: nn.Module, limit: float | None) -> None:
        """No network is measured."""
        return

    def dense_ms(self) -> tuple[float, str]:
        """The dense model's predicted ms, and the device they hold for."""
        return self.dense, self.fingerprint


@dataclass(frozen=True)
class PairedTiming:
    """Times networks against the dense model, both in turn on one device.

    Attributes:
        dense: The dense model as exported, serialised.
        setting: Device, clock and runtime.
        export: From a network in torch to its ONNX model.
        deployed: From a network in fp32 to the one that runs on the device.
    """

    dense: bytes
    setting: Setting
    export: Callable[[nn.Module], ModelProto]
    deployed: Callable[[ModelProto], ModelProto] = lambda proto: proto

    def ratio(self, network: nn.Module, limit: float | None) -> Interval:
        """The latency of a network over the dense model's; its weights may still be untrained.

        Raises:
            MachineError: the device was too slow or too busy for two epochs.
        """
        content = self.deployed(self.export(network)).SerializeToString()
        compared = protocol.compare(content, self.dense, self.setting, limit=limit)
        if compared.interval is None:
            raise MachineError(
                "too few epochs to compare; raise measure.max_seconds of the target"
            )
        return compared.interval

    def dense_ms(self) -> tuple[float, str]:
        """The dense model's median in ms as a p50 budget judges it, and the device's name."""
        judged = self.setting
        if judged.clock != "cpu":
            judged = replace(judged, clock="wall")
        report = protocol.measure(self.dense, judged)
        return report.median_ms, identify(report.machine)


@dataclass(frozen=True)
class Candidate:
    """A choice and its latency over the dense model's, measured with its final widths.

    Attributes:
        choice: What was searched.
        measured: Ratio to the dense latency; None where the device is not here to be asked.
        aim: Limits that the search had to keep, as predicted: those asked for, tightened.
    """

    choice: Choice
    measured: Interval | None
    aim: Limits = field(default_factory=Limits)


def settle(
    problem: Problem, timing: Timing, search: Search, limits: Limits, name: str
) -> Iterator[Candidate]:
    """Search, measure, and search again under tighter limits until those asked are kept.

    Of a choice that misses, its others are measured before that: what was judged nearly as good
    may keep the limits, while tighter ones would leave room that the device has. In int8 it
    searches once more under looser ones where the first choice is much faster. Where nothing can
    be measured the prediction decides, with the same margin, and one search is all.

    Args:
        problem: What is searched.
        timing: How candidates are measured.
        search: From limits to a choice that keeps them, or the one that comes closest.
        limits: What was asked for.
        name: Name of the strategy, for the message where the limits are not reached.

    Yields:
        Every candidate as it is measured; the last one keeps the limits.

    Raises:
        UnreachedError: no candidate does, or one misses the MACs or parameters, which are
            counted and not measured; the message says what can be had.
    """
    refuse_out_of_reach(problem, limits)
    lowest, tight, best = floor(problem)[0], _cautious(limits, problem), np.inf
    slow: Candidate | None = None  # one that keeps the limits with more room than it needs
    for _ in range(ATTEMPTS):
        choice = search(tight)
        _refuse_missed_counts(choice, limits, problem)
        tried: list[Candidate] = []
        for each in _until_kept(choice, problem, timing, limits):
            tried.append(replace(each, aim=tight))
            yield tried[-1]
        candidate, measured = tried[-1], tried[-1].measured
        if measured is None:
            _refuse_predicted_miss(choice, limits, name)
            return
        if limits.latency is None or measured.high <= limits.latency:
            if slow or not _may_be_larger(measured, candidate.choice, problem, limits):
                return
            slow, share = candidate, candidate.choice.ratios[0] / measured.high
            tight = replace(tight, latency=float((1 - LEAST_MARGIN) * share * limits.latency))
            continue
        if slow:
            yield slow
            return
        highs = [each.measured.high for each in tried if each.measured]
        best = min(best, *highs)
        missed = tight.latency is not None and choice.ratios[0] > tight.latency * (1 + 1e-9)
        if choice.ratios[0] <= lowest or missed:  # tighter limits would find the same choice
            break
        # The table was this much too hopeful here; 1 % more keeps a tie from costing a turn.
        hope = choice.ratios[0] / highs[0]
        tighter = 0.99 * min(tight.latency or 1.0, limits.latency * hope)
        tight = replace(tight, latency=max(lowest, tighter))
    raise UnreachedError(
        f"strategy {name} does not reach latency {limits.latency:g}x: the best that can be had "
        f"is {best:.3f}x (measured){_held(problem)}",
        "latency",
        best,
    )


def _until_kept(
    choice: Choice, problem: Problem, timing: Timing, limits: Limits
) -> Iterator[Candidate]:
    """A choice and its others, measured in turn until one keeps the limits, surely so."""
    for each in (choice, *choice.others):
        if each is not choice and (each.ratios > limits.vector())[1:].any():
            continue  # MACs and parameters are counted, not measured
        network = slim(problem.trace, each.plan(problem.model))
        measured, limit = timing.ratio(network, limits.latency), limits.latency
        if measured and limit and (1 - NEAR) * limit < measured.high <= limit:
            measured = timing.ratio(network, limit)
        yield Candidate(each, measured)
        if measured is None or limit is None or measured.high <= limit:
            return


def _refuse_predicted_miss(choice: Choice, limits: Limits, name: str) -> None:
    """Raise UnreachedError for a choice that not even its prediction brings within the limit."""
    ratio = float(choice.ratios[0])
    if limits.latency is not None and ratio > limits.latency:
        raise UnreachedError(
            f"strategy {name} does not reach latency {limits.latency:g}x: the best that can be "
            f"had is {ratio:.3f}x (predicted)",
            "latency",
            ratio,
        )


def _may_be_larger(measured: Interval, choice: Choice, problem: Problem, limits: Limits) -> bool:
    """Whether int8 gained more than was measured at first, so that a larger network fits.

    Predictions in int8 hang on one measured ratio, that of the dense network; on a machine with
    other work it may be a tenth off, and nobody would know what was left behind.
    """
    if problem.costs.dense_latency == 1.0 or limits.latency is None:
        return False
    at_most = problem.costs.dense_latency * (1 - 1e-9)  # else it is the dense network already
    return measured.high < ROOM * limits.latency and bool(choice.ratios[0] < at_most)


def _cautious(limits: Limits, problem: Problem) -> Limits:
    """Leave room for the error of the table, but never ask for less than the grid allows."""
    if limits.latency is None:
        return limits
    margin = min(max(problem.latency_error, LEAST_MARGIN), MOST_MARGIN)
    return replace(limits, latency=max(floor(problem)[0], limits.latency * (1 - margin)))


def refuse_out_of_reach(problem: Problem, limits: Limits) -> None:
    """Say at once, from predictions, what no choice of widths can keep.

    MACs and parameters are exact. A latency limit within the table's error of the lowest
    prediction is let through, as only measuring decides.

    Raises:
        UnreachedError: a limit lies below the lowest cost on the grid.
    """
    doubt = np.array([1 + problem.latency_error, 1.0, 1.0])
    for row, least, limit in zip(_COSTS, floor(problem), limits.vector() * doubt, strict=True):
        if least > limit:
            raise _beyond(
                row, getattr(limits, row[1]), "no widths on the grid bring", least, problem
            )


def _refuse_missed_counts(choice: Choice, limits: Limits, problem: Problem) -> None:
    """Nothing is trained, or even measured, that is known to miss what was asked."""
    counted = list(zip(_COSTS, choice.ratios, limits.vector(), strict=True))[1:]
    for row, share, limit in counted:
        if share > limit:
            raise _beyond(row, limit, "the search did not bring", share, problem)


def _beyond(
    row: tuple[str, str], limit: float, who: str, best: float, problem: Problem
) -> UnreachedError:
    return UnreachedError(
        f"{who} {row[0]} down to {limit:g}x of the dense model: the best that can be had is "
        f"{best:.3f}x (predicted){_held(problem)}",
        row[1],
        best,
    )


def _held(problem: Problem) -> str:
    """What of the network could not give way, as its user asked."""
    groups = problem.space.left.groups
    return f" with {len(groups)} channel groups left whole" if groups else ""


def floor(problem: Problem) -> Floats:
    """Lowest predicted shares of latency, MACs and params that the grid allows, shape (3,)."""
    least = np.array([[grid[0] for grid in problem.space.grids]], np.int64)  # (1, G)
    shares: Floats = problem.costs.ratios(problem.space.settle(least))[0]
    return shares
