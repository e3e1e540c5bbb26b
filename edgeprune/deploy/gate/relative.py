"""Verdicts on the budgets relative to the dense model: latency, MACs, params, layout."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.gate.inspection import Inspected
from edgeprune.deploy.gate.verdicts import FAR, Verdict, by_ratio, far_over, of_value
from edgeprune.deploy.timing.pacing import OWN, SPARE, rounded_up
from edgeprune.deploy.timing.protocol import Comparison, compare
from edgeprune.deploy.timing.sequential import Decision, cap, sessions_needed
from edgeprune.deploy.timing.setting import Setting
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
    """Compare until the limit is settled; a miss is measured once more in a new process.

    Raises:
        MachineError: the time does not reach for the first look, or ended so early that a ratio
            far over the limit stayed undecided.
    """
    models = candidate.model, reference.model
    attempts = [compare(*models, setting, limit=limit)]
    decisions = [attempts[0].decide(limit)]
    if decisions[0].status == "missed":
        again = replace(setting, seed=setting.seed + 1)  # other orders of opening and starting
        attempts.append(compare(*models, again, limit=limit))
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
        evidence=_evidence(attempts, decisions, limit),
        rule="ratio",
        raw=raw,
    )
    return Timed(verdict, tuple(attempts))


def _evidence(attempts: Sequence[Comparison], decisions: Sequence[Decision], limit: float) -> str:
    shown = attempts[-1]
    ours, theirs = shown.candidate, shown.reference
    clock = "CPU time of the thread" if shown.clock == "cpu" else "wall time"
    sessions = "session" if len(shown.epochs) == 1 else "sessions"
    said = (
        f"median {ours.median_ms:.3f} ms against {theirs.median_ms:.3f} ms, {clock}, "
        f"{len(ours.samples_ms)} runs each in {len(shown.epochs)} fresh {sessions}, "
        f"{sum(a.seconds for a in attempts):.1f} s"
    )
    parts = [said, shown.plan.raised]
    if len(attempts) > 1:
        first, second = (decision.status for decision in decisions)
        parts.append(f"the first process said {first}, a second {second}")
    if decisions[-1].status == "inconclusive":
        parts.append(_reason(shown, limit))
    elif decisions[0].status != decisions[-1].status:
        parts.append("the machine is not steady: check again where less else runs")
    return "; ".join(filter(None, parts))


def _reason(comparison: Comparison, limit: float) -> str:
    """Why these epochs settle nothing, and what to do.

    Raises:
        MachineError: the time ended early, and the ratio is far over the limit.
    """
    epochs, clock, count = comparison.epochs, comparison.clock, len(comparison.epochs)
    most, ratio = cap(epochs, clock), comparison.ratio
    needed = sessions_needed([epoch.value for epoch in epochs], limit)
    if count < most and needed is not None:
        longer = rounded_up(SPARE * comparison.seconds / count * needed)
        reached = f"{comparison.plan.max_seconds:g} s reached for {count} of {most} sessions"
        advice = f"{reached}; raise --max-seconds to about {longer}, or {OWN}"
        if ratio > FAR * limit:
            raise far_over("latency", f"{ratio:.2f}x", f"{limit:g}x", advice)
        return advice
    return (
        f"{abs(ratio / limit - 1):.1%} from the limit is less than {most} sessions tell apart "
        "here; move the limit, or check where less else runs (edgeprune check --self-test says "
        "what shows)"
    )


def counts(candidate: Facts, reference: Facts, name: str, limit: float) -> Verdict:
    """The share of the reference's ``macs`` or ``params`` that is left.

    Both as the files record them ("as published"), or both counted from the graph.
    """
    label, ours, theirs = f"{name}_ratio", candidate.number(name), reference.number(name)
    how = "as the files record them"
    if ours is None or theirs is None:
        counted = {
            "the model": getattr(candidate, name),
            "the baseline": getattr(reference, name),
        }
        lacking = [f"{n} of {file}" for file, c in counted.items() if (n := c.lacking)]
        if lacking:
            said = f"not counted: {' and '.join(lacking)}"
            return of_value(label, limit, None, "x", said)
        ours, theirs = (count.total for count in counted.values())
        how = "counted from the graphs"
    if not theirs:
        raise InputError(f"{reference.path} has no {name} to compare with")
    return of_value(label, limit, ours / theirs, "x", f"{ours:,.0f} of {theirs:,.0f}, {how}")


def kernels(seen: Inspected) -> Verdict:
    """No convolution may leave the blocked layout that the reference's keep on the target."""
    if seen.unseen:
        return of_value("kernel_layout", 0, None, "", seen.unseen)
    candidate, reference = seen.layouts
    left = candidate.left(reference)
    names = f"left the blocked layout: {', '.join(left)}; " if left else ""
    said = f"{names}{candidate.describe()}; {seen.where}"
    return of_value("kernel_layout", 0, len(left), "", said)


def outputs(finite: Sequence[bool]) -> list[Verdict]:
    """Missed where candidate or reference, in this order, answers with NaN or infinity."""
    names = ("the model", "the baseline")[: len(finite)]
    bad = [name for name, good in zip(names, finite, strict=True) if not good]
    if not bad:
        return []
    said = f"{' and '.join(bad)} gives NaN or infinity for seeded normal input"
    return [of_value("outputs", 0, len(bad), "", said)]


def with_doubt(
    verdicts: list[Verdict],
    candidate: Facts,
    reference: Facts | None,
    limits: Mapping[str, float | None],
) -> list[Verdict]:
    """The verdicts, with a word on those that rest on a baseline that the file does not record.

    Without ``--baseline`` such a reference is none, and those budgets are undecided.

    Args:
        verdicts: All verdicts so far.
        candidate: The model.
        reference: The baseline that was named or that the model records; None without one.
        limits: Budgets relative to the reference, by the names of their verdicts.
    """
    recorded = candidate.recorded.get("dense_sha256")
    if reference is None:
        reason = "dense.onnx beside the file is not the dense model it records; name --baseline"
        asked = {name: bar for name, bar in limits.items() if bar is not None}
        return verdicts + [of_value(name, bar, None, "x", reason) for name, bar in asked.items()]
    if recorded == reference.sha256:
        return verdicts
    said = "the baseline is not the dense model that the file records"
    if recorded is None:
        said = "the file records no dense model: the baseline is taken on trust"
    return [
        replace(each, evidence=f"{each.evidence}; {said}") if each.name in limits else each
        for each in verdicts
    ]
