"""Verdicts on the absolute budgets: p50, p90, load time, memory, MACs, params, bytes.

Counts gate on any machine, milliseconds and memory only on the device that the profile names.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from edgeprune.deploy.artifact.counting.count import Count
from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.gate.percentiles import PERCENTILES, judged
from edgeprune.deploy.gate.verdicts import Verdict, by_spread, of_value
from edgeprune.deploy.timing.protocol import measure
from edgeprune.deploy.timing.samples import LatencyReport
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import percentile
from edgeprune.errors import MachineError
from edgeprune.target import AbsoluteBudget

# Field of the runner's answer, what it is divided by, unit.
FOOTPRINTS = {"load_ms": ("load_ns", 1e6, " ms"), "peak_bytes": ("peak_bytes", 1.0, " bytes")}


@dataclass(frozen=True)
class Here:
    """The machine that measures.

    Attributes:
        fingerprint: Name of its kind, see fingerprint.py.
        is_device: Whether it is the one the profile names.
    """

    fingerprint: str
    is_device: bool


def counts(candidate: Facts, budget: AbsoluteBudget) -> list[Verdict]:
    """MACs, params and bytes of the file, where the budget limits them; nothing is timed."""
    found = []
    for name, limit in _limits(budget, ("macs", "params", "file_bytes")).items():
        unit = " bytes" if name == "file_bytes" else ""
        recorded = candidate.number(name) if name in ("macs", "params") else None
        if recorded is not None:
            found.append(of_value(name, limit, recorded, unit, "as the file records it"))
        elif name == "file_bytes":
            found.append(of_value(name, limit, candidate.file_bytes, unit, "size of the file"))
        else:
            found.append(of_count(name, limit, getattr(candidate, name)))
    return found


def of_count(name: str, limit: float, count: Count) -> Verdict:
    """The verdict on a count from the graph; one that is not complete is never met."""
    how = "counted from the graph"
    if count.observed:
        how += f", {count.observed} shapes as a run on random input has them"
    if not count.missing:
        return of_value(name, limit, count.total, "", how)
    said = f"not counted: {count.lacking}; the rest is {count.total:,}, {how}"
    over = count.total > limit  # what is missing would only add to it
    return of_value(name, limit, count.total if over else None, "", said)


def percentiles(
    candidate: Facts,
    budget: AbsoluteBudget,
    setting: Setting,
    here: Here,
    known: LatencyReport | None,
) -> tuple[list[Verdict], LatencyReport | None]:
    """p50 and p90: a test over sessions on the device, an estimate elsewhere.

    Args:
        candidate: The model.
        budget: Limits of the target.
        setting: How and where to time; on the device wall time unless the profile says ``cpu``.
        here: The machine that measures.
        known: The candidate's latency, when a comparison has measured it.

    Returns:
        The verdicts, and what was measured for them.

    Raises:
        MachineError: the time does not reach for the sessions that a verdict needs.
    """
    limits = _limits(budget, PERCENTILES)
    if not limits:
        return [], None
    if not here.is_device:
        # A comparison has timed the candidate already: its samples are as good an estimate.
        report = known or measure(candidate.model, setting)
        values = {name: percentile(report.samples_ms, PERCENTILES[name]) for name in limits}
        return [estimate(name, limits[name], values[name], " ms", here) for name in limits], report
    return judged(candidate, limits, setting)


def footprints(
    candidate: Facts, budget: AbsoluteBudget, setting: Setting, here: Here
) -> list[Verdict]:
    """Load time and peak memory, each in three processes of its own.

    Raises:
        MachineError: the peak memory of a process cannot be read on this system.
    """
    limits = _limits(budget, FOOTPRINTS)
    if not limits:
        return []
    # A process gives memory it once had to the next model: each needs one of its own.
    lines = [_footprint(candidate, setting) for _ in range(3)]
    found = []
    for name, limit in limits.items():
        key, scale, unit = FOOTPRINTS[name]
        values = sorted(line[key] / scale for line in lines)
        if not values[0]:
            raise MachineError(f"{name} cannot be read on {setting.device.uri}; drop that budget")
        if here.is_device:
            found.append(_spread(name, limit, values, unit))
        else:
            found.append(estimate(name, limit, values[1], unit, here))
    return found


def estimate(name: str, limit: float, value: float, unit: str, here: Here) -> Verdict:
    """What another machine measured; never met, never missed.

    It carries no range: how far two machines lie apart is not known before both were measured.
    """
    said = (
        f"measured on {here.fingerprint}; says nothing about the device, measure there: "
        "`edgeprune devices check ssh://...` prints its budget.absolute.fingerprint for the "
        "profile, --device ssh://... gates on it"
    )
    return replace(of_value(name, limit, value, unit, said), outcome="estimate", rule="estimate")


def _limits(budget: AbsoluteBudget, names: Iterable[str]) -> dict[str, float]:
    limits = {name: getattr(budget, name) for name in names}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _spread(name: str, limit: float, values: list[float], unit: str) -> Verdict:
    """The verdict on three ascending values: the middle one, and the range of all."""
    said, outcome = "three fresh processes on the device", by_spread(values, limit)
    if outcome == "inconclusive":
        said += "; on both sides of the limit: move it, or check where less else runs"
    return Verdict(
        name=name,
        outcome=outcome,
        limit=limit,
        value=values[1],
        unit=unit,
        interval=(values[0], values[-1]),
        evidence=said,
        rule="spread",
        raw={"values": values},
    )


def _footprint(candidate: Facts, setting: Setting) -> dict[str, Any]:
    job = replace(setting.job([candidate.model], []), memory=(0,))
    with closing(setting.device.run(job)) as lines:
        return next(line for line in lines if line["kind"] == "memory")
