"""Verdicts on the budgets relative to the dense model: latency, MACs, params, accuracy, layout."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.gate.kernel_layout import Layout
from edgeprune.deploy.gate.verdicts import Verdict, by_ratio, of_value
from edgeprune.deploy.timing.protocol import Comparison, Setting, compare
from edgeprune.deploy.timing.sequential import Decision
from edgeprune.errors import InputError


@dataclass(frozen=True)
class Timed:
    """The latency verdict and the measurements behind it; the second one doubts a miss."""

    verdict: Verdict
    attempts: tuple[Comparison, ...]


def check_limit(limit: float, name: str) -> float:
    """Return a limit on the latency ratio, unless it is too near to 1 to be timed.

    Raises:
        InputError: it is not positive, or lies within 1 % of 1.
    """
    if not 0 < limit < float("inf"):
        raise InputError(f"{name} = {limit:g} is not a positive number")
    # Two sessions of one model keep an offset of about 1 % that more runs never remove.
    if 0.99 < limit < 1.01:
        raise InputError(
            f"{name} = {limit:g} is nearer to 1 than 1 %, which is all that timing resolves; "
            "take at most 0.99 or at least 1.01"
        )
    return limit


def latency(candidate: Facts, reference: Facts, setting: Setting, limit: float) -> Timed:
    """Compare until the limit is settled; a miss is measured once more in a new process."""
    paths = candidate.path, reference.path
    attempts = [compare(*paths, setting, limit=limit)]
    decisions = [attempts[0].decide(limit)]
    if decisions[0].status == "missed":
        again = replace(setting, seed=setting.seed + 1)  # other orders of opening and starting
        attempts.append(compare(*paths, again, limit=limit))
        decisions.append(attempts[1].decide(limit))
    raw = {
        "attempts": [{"clock": a.clock, "epochs": list(map(asdict, a.epochs))} for a in attempts]
    }
    shown = attempts[-1]
    interval = shown.interval
    verdict = Verdict(
        name="latency",
        outcome=by_ratio([decision.status for decision in decisions]),
        limit=limit,
        value=shown.ratio,
        unit="x",
        interval=(interval.low, interval.high) if interval else None,
        evidence=_evidence(attempts, decisions),
        rule="ratio",
        raw=raw,
    )
    return Timed(verdict, tuple(attempts))


def _evidence(attempts: Sequence[Comparison], decisions: Sequence[Decision]) -> str:
    shown = attempts[-1]
    ours, theirs = shown.candidate, shown.reference
    clock = "CPU time of the thread" if shown.clock == "cpu" else "wall time"
    sessions = "session" if len(shown.epochs) == 1 else "sessions"
    said = (
        f"median {ours.median_ms:.3f} ms against {theirs.median_ms:.3f} ms, {clock}, "
        f"{len(ours.samples_ms)} runs each in {len(shown.epochs)} fresh {sessions}, "
        f"{sum(a.seconds for a in attempts):.1f} s"
    )
    if len(attempts) == 1:
        return said
    return f"{said}; the first process said {decisions[0].status}, a second {decisions[1].status}"


def counts(candidate: Facts, reference: Facts, name: str, limit: float) -> Verdict:
    """The share of the reference's ``macs`` or ``params`` that is left.

    Both as the files record them ("as published"), or both counted from the graph.
    """
    ours, theirs = candidate.number(name), reference.number(name)
    recorded = ours is not None and theirs is not None
    if not recorded:
        ours, theirs = getattr(candidate, name), getattr(reference, name)
    if not theirs:
        raise InputError(f"{reference.path} has no {name} to compare with")
    ratio = (ours or 0) / theirs
    how = "as the files record them" if recorded else "counted from the graphs"
    return of_value(f"{name}_ratio", limit, ratio, "x", f"{ours:,.0f} of {theirs:,.0f}, {how}")


def accuracy(candidate: Facts, limit: float) -> Verdict | None:
    """Percentage points lost, where the file records both accuracies; else None."""
    dense, slim = candidate.number("accuracy_dense"), candidate.number("accuracy_slim")
    if dense is None or slim is None:
        return None
    lost = round(100 * (dense - slim), 6)  # 0.95 - 0.94 is 0.010000000000000009
    said = f"{dense:.2%} dense, {slim:.2%} slim, as the file records it"
    return of_value("accuracy_drop", limit, lost, " points", said)


def kernels(candidate: Layout, reference: Layout) -> Verdict:
    """No convolution may leave the blocked layout that the reference's keep."""
    left = candidate.left(reference)
    names = f"left the blocked layout: {', '.join(left)}; " if left else ""
    return of_value("kernel_layout", 0, len(left), "", names + candidate.describe())
