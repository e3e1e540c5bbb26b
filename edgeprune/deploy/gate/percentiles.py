"""Verdicts on p50 and p90 of a model's latency on the device, with the session as the unit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.gate.verdicts import (
    ALPHA,
    DRIFT,
    FAR,
    PROCESSES,
    Sessions,
    Verdict,
    by_percentile,
    far_over,
    slowdown,
)
from edgeprune.deploy.timing.pacing import OWN, SPARE, THOROUGH, Plan, rounded_up, short
from edgeprune.deploy.timing.protocol import measure, plan_for
from edgeprune.deploy.timing.samples import LatencyReport
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import least_sessions, percentile

PERCENTILES = {"p50_ms": 50, "p90_ms": 90}
SESSION = THOROUGH[2:]  # few runs each: more sessions tell more
BATCH, MOST = 16, 192  # sessions of a process, of all of them
QUICK = 15.0  # s that three processes of so many sessions may take; else as few as a "met" needs


@dataclass(frozen=True)
class _Measured:
    """What was measured for the percentiles, and the verdicts on it.

    Attributes:
        verdicts: One for each limit.
        reports: One for each process.
        planned: How the time was to be spent.
        seconds: How long it took.
        least: Sessions that a "met" needs at least.
    """

    verdicts: list[Verdict]
    reports: list[LatencyReport]
    planned: Plan
    seconds: float
    least: int

    @property
    def sessions(self) -> int:
        """Sessions of all processes."""
        return sum(len(report.epochs_ns) for report in self.reports)


def judged(
    candidate: Facts, limits: dict[str, float], setting: Setting
) -> tuple[list[Verdict], LatencyReport]:
    """The verdicts on the limits in ms, by name, and what was measured for them.

    Raises:
        MachineError: the time does not reach for the sessions that a verdict needs.
    """
    measured = _measured(candidate, limits, setting)
    found = [_explained(verdict, measured) for verdict in measured.verdicts]
    return found, reduce(LatencyReport.joined, measured.reports)


def _measured(candidate: Facts, limits: dict[str, float], setting: Setting) -> _Measured:
    """Measure in one process after another until all is settled or the time is over."""
    # A user waits in wall time, so that is what a budget in milliseconds means.
    wall = setting if setting.clock == "cpu" else replace(setting, clock="wall")
    least = max(least_sessions((100 - PERCENTILES[name]) / 100, ALPHA) for name in limits)
    planned = plan_for(wall, [candidate.model], least, SESSION)
    batch = -(-least // PROCESSES)
    if PROCESSES * BATCH * planned.seconds < QUICK:
        batch = BATCH
    start, found, verdicts = setting.now(), list[LatencyReport](), list[Verdict]()
    share = planned.max_seconds / PROCESSES  # of three, also where starting them takes long
    while len(found) * batch < MOST:
        left = start + planned.max_seconds - setting.now()
        if left <= 0 and len(found) >= PROCESSES:
            break
        inside = replace(planned, max_seconds=share if len(found) < PROCESSES else left)
        found.append(measure(candidate.model, wall, epochs=batch, planned=inside))
        verdicts = _percentiles(limits, found)
        if all(verdict.outcome != "inconclusive" for verdict in verdicts):
            break
    return _Measured(verdicts, found, planned, setting.now() - start, least)


def _explained(verdict: Verdict, measured: _Measured) -> Verdict:
    """With the reason where it is undecided, and a word on a limit that was raised."""
    said = [verdict.evidence, measured.planned.raised]
    if verdict.outcome == "inconclusive":
        said.append(_reason(verdict, measured))
    return replace(verdict, evidence="; ".join(filter(None, said)))


def _reason(verdict: Verdict, measured: _Measured) -> str:
    """Why these sessions settle nothing, and what to do.

    Raises:
        MachineError: they are too few to settle anything, or the value is far over its limit.
    """
    if measured.sessions >= MOST:
        return "nearer to the limit than so many sessions tell apart; move the limit"
    most, sessions = measured.planned.max_seconds, measured.sessions
    missed = any(verdict.outcome == "missed" for verdict in measured.verdicts)
    if not missed and sessions < measured.least:
        needed = SPARE * measured.seconds / sessions * measured.least
        raise short(most, sessions, measured.least, needed)
    longer = rounded_up(SPARE * measured.seconds * MOST / measured.sessions)
    reached = f"{most:g} s reached for {sessions} sessions"
    said = f"{reached}; raise --max-seconds to about {longer}, or {OWN}"
    if not missed and verdict.value is not None and verdict.value > FAR * verdict.limit:
        raise far_over(verdict.name, verdict.value_text, verdict.limit_text, said)
    return said


def _percentiles(limits: dict[str, float], reports: Sequence[LatencyReport]) -> list[Verdict]:
    runs = [[[ns / 1e6 for ns in row] for row in report.epochs_ns] for report in reports]
    return [_percentile(name, limit, runs) for name, limit in limits.items()]


def _percentile(name: str, limit: float, runs: Sequence[Sessions]) -> Verdict:
    percent = PERCENTILES[name]
    sessions = [session for process in runs for session in process]
    every = [ms for session in sessions for ms in session]
    over, warming = sum(ms > limit for ms in every), slowdown(runs)
    said = (
        f"{over} of {len(every)} runs took longer, in {len(sessions)} sessions of {len(runs)} "
        "processes on the device"
    )
    if warming > DRIFT:
        said += f"; it grew {warming - 1:.0%} slower while measuring: let it cool down"
    return Verdict(
        name=name,
        outcome=by_percentile(runs, percent, limit),
        limit=limit,
        value=percentile(every, percent),
        unit=" ms",
        evidence=said,
        rule="percentile",
        raw={"percentile": percent, "sessions_ms": list(runs)},
    )
