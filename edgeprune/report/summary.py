"""The words of a report: headline, key figures, verdicts, what was run where and with what."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.deploy.gate.verdicts import Report
from edgeprune.report import command_line
from edgeprune.report.measured import measured_ratio
from edgeprune.report.records import ACCURACY, PREDICTED, Made, Result, Run
from edgeprune.report.task_figure import Tile, figure_cells, kept, tile
from edgeprune.report.timed import named

UNFINISHED = {
    "running": "This run is not finished: it is at work, or was killed.",
    "interrupted": "This run was interrupted. The same command with --resume goes on with it.",
    "failed": "This run made no model that keeps its budgets.",
}
WORST_FIRST = ("not reached", "missed", "inconclusive", "met")
NAMES = {
    "latency": "latency",
    "accuracy_drop": "accuracy",
    "output_error": "output error",
    "score_drop": "score",
    "macs_ratio": "MACs",
    "params_ratio": "params",
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The verdict in one sentence.

    Attributes:
        outcome: ``met``, ``missed``, ``inconclusive``, or what else became of the run.
        title: What came out.
        detail: What the outcome rests on.
    """

    outcome: str
    title: str
    detail: str


def headline(runs: Sequence[Run]) -> Headline:
    """What a page says first."""
    if len(runs) > 1:
        return _of_several(runs)
    run = runs[0]
    if len(run.record.family) > 1:
        return _of_family(run)
    made = run.models[0]
    results = made.record.results
    if run.figure not in results or (measured_ratio(made) is None and PREDICTED not in results):
        return _of_unfinished(run)
    return Headline(outcome=_outcome(made), title=_result(run, made), detail=_reasons(made.check))


def _result(run: Run, made: Made) -> str:
    """What became faster, and what became of its accuracy, or of what it was judged by."""
    ratio = measured_ratio(made)
    model = run.request.get("model")
    name = model.get("name", "the model") if isinstance(model, dict) else "the model"
    result = kept(run.figure, made.record.results[run.figure])
    if ratio is not None:
        return f"{name} at {ratio:.2f}x its dense latency, with {result}"
    predicted = made.record.results[PREDICTED]
    return f"{name} at a predicted {_times(predicted)} of its dense latency, with {result}"


def _outcome(made: Made) -> str:
    if made.check:
        return made.check.outcome
    verdict = made.record.verdict
    return f"{verdict}, by run.json alone" if verdict else "unknown"


def _reasons(check: Report | None) -> str:
    """Every budget that was not met, or that all were."""
    if check is None:
        return "Its check.json cannot be read, so the evidence is not shown."
    open_ones = [v for v in check.verdicts if v.outcome != "met"]
    if not open_ones:
        count = len(check.verdicts)
        return f"Every budget is met: {count} of {count}, measured and judged."
    said = [f"{NAMES.get(v.name, v.name)} is {v.outcome}: {v.evidence}" for v in open_ones]
    return ". ".join(f"{part[:1].upper()}{part[1:]}" for part in said) + "."


def _of_unfinished(run: Run) -> Headline:
    status = run.record.status
    said = UNFINISHED.get(status, "This run folder lacks the results of a finished run.")
    reason = run.record.reason if run.record.reason != status else ""
    outcome = "not reached" if status == "failed" else status
    return Headline(outcome=outcome, title=said, detail=reason)


def _of_family(run: Run) -> Headline:
    met = [made for made in run.models if _outcome(made) == "met"]
    lines = [f"{m.latency:g}x {m.verdict}" for m in run.record.family]
    outcomes = {m.verdict for m in run.record.family}
    outcome = next((worse for worse in WORST_FIRST if worse in outcomes), "unknown")
    return Headline(
        outcome=outcome,
        title=f"A family of {len(run.record.family)}: {len(met)} met all of their budgets",
        detail=", ".join(lines),
    )


def _of_several(runs: Sequence[Run]) -> Headline:
    models = [
        (ratio, name)
        for name, _, made in named(runs)
        if _outcome(made) == "met" and (ratio := measured_ratio(made)) is not None
    ]
    detail = "None of them met every budget."
    if models:
        ratio, name = min(models)
        detail = f"The fastest that met every budget: {name}, at {ratio:.3f}x of its dense model."
    machines = {_machine(made.check) for run in runs for made in run.models if made.check}
    if len(machines) > 1:
        detail += " They were measured on different machines: compare ratios, not milliseconds."
    kind = "targets" if all(len(run.together) > 1 for run in runs) else "runs"
    return Headline(outcome="", title=f"{len(runs)} {kind} compared", detail=detail)


def tiles(run: Run) -> tuple[Tile, ...]:
    """Key figures of a run's only model."""
    made = run.models[0]
    results = made.record.results
    found = []
    if latency := results.get("latency"):
        ratio = measured_ratio(made)
        share = "" if ratio is None else f"{ratio:.3f}x of dense {latency.dense:.3f} ms"
        found.append(Tile(name="Latency, measured", value=f"{latency.slim:.3f} ms", detail=share))
    if predicted := results.get(PREDICTED):
        share = f"{_times(predicted)} of dense {predicted.dense:.3f} ms; not measured"
        value = f"{predicted.slim:.3f} ms"
        found.append(Tile(name="Latency, predicted", value=value, detail=share))
    if figure := results.get(run.figure):
        found.append(tile(run.figure, figure))
    for name in ("MACs", "params", "file size"):
        if (row := results.get(name)) and row.dense > 0:
            label = name if name == "MACs" else name.capitalize()
            found.append(Tile(name=label, value=_times(row), detail=_counts(row)))
    return tuple(found)


def _times(row: Result) -> str:
    return f"{row.slim / row.dense:.3f}x"


def _counts(row: Result) -> str:
    unit = f" {row.unit}" if row.unit else ""
    return f"{row.slim:,.0f} of {row.dense:,.0f}{unit}"


def verdict_rows(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Every verdict of every model."""
    return [
        {
            "model": name,
            "budget": verdict.name,
            "outcome": verdict.outcome,
            # A budget of yes or no has no number worth a look.
            "value": "" if verdict.yes_or_no else verdict.value_text,
            "limit": "" if verdict.yes_or_no else verdict.limit_text,
            "evidence": verdict.evidence,
        }
        for name, _, made in named(runs)
        for verdict in (made.check.verdicts if made.check else ())
    ]


def run_rows(runs: Sequence[Run]) -> list[dict[str, str]]:
    """One line a model, for a comparison or a family."""
    lines = []
    for name, run, made in named(runs):
        results, ratio = made.record.results, measured_ratio(made)
        latency, macs = results.get("latency"), results.get("MACs")
        _, figure, lost = figure_cells(results)
        lines.append(
            {
                "model": name,
                "strategy": str(run.request.get("strategy", "")),
                "outcome": _outcome(made) if results else made.record.status,
                "latency": "" if ratio is None else f"{ratio:.3f}x",
                "ms": f"{latency.slim:.3f} ms" if latency else "",
                "figure": figure if run.figure == ACCURACY else f"{run.figure} {figure}",
                "lost": f"{lost} points" if lost and run.figure == ACCURACY else lost,
                "MACs": _times(macs) if macs and macs.dense > 0 else "",
            }
        )
    return lines


def notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What must be known beside the verdicts, and which files are missing."""
    found = []
    for _, run, made in named(runs):
        before = f"{run.name}: " if len(runs) > 1 else ""
        found += [before + note for note in made.record.notes]
        found += [before + note for note in (made.check.notes if made.check else ())]
        if made.check and made.check.health:
            found += [before + doubt for doubt in made.check.health.doubts]
    for run in runs:
        found += [f"{run.name}: {line}" for line in run.shared]
        not_reached = [m for m in run.record.family if m.reason]
        found += [f"{m.latency:g}x was not reached: {m.reason}" for m in not_reached]
    return tuple(dict.fromkeys(found))


def facts(run: Run) -> list[tuple[str, str]]:
    """Where, when and with what a run was made."""
    check = next((made.check for made in run.models if made.check), None)
    target = run.request.get("target")
    profile = target if isinstance(target, dict) else {}
    found = [("folder", run.name), ("status", run.record.status)]
    found += [("target", f"{profile.get('name', 'unknown')}: {profile.get('description', '')}")]
    if profile.get("proxy_for"):
        found.append(("stands in for", str(profile["proxy_for"])))
    if run.record.stand_in:
        parts = (line.partition(": ") for line in run.record.stand_in.lines)
        found += [(name, said) for name, _, said in parts]
    found.append(("data", str(run.request.get("source", "unknown"))))
    if run.began:
        found.append(("search", f"{run.began} to {run.ended}"))
    if check:
        machine = check.machine
        isa = machine.get("isa")
        found += [
            ("measured", check.date),
            ("device", f"{machine.get('device', 'unknown')}, {_machine(check)}"),
            ("processor", f"{machine.get('cpu')}, {machine.get('cores')} cores"),
            ("instruction sets", " ".join(map(str, isa)) if isinstance(isa, list) else ""),
            ("system", f"{machine.get('system')}, {machine.get('arch')}"),
            ("versions", ", ".join(f"{k} {v}" for k, v in check.versions.items())),
            ("model.onnx", f"sha256 {check.model['sha256']}"),
        ]
        if check.health:
            found.append(("machine while measuring", _health(check)))
    else:
        found.append(("versions", f"edgeprune {run.record.version}"))
    found.append(("page drawn with", f"Python {platform.python_version()}"))
    found.append(("files", ", ".join(run.files)))
    return [(name, value) for name, value in found if value.strip(" :")]


def _machine(check: Report | None) -> str:
    return str(check.machine.get("fingerprint", "unknown")) if check else "unknown"


def _health(check: Report) -> str:
    health = check.health
    if health is None:
        return ""
    said = [f"load {health.load:.1f}", f"p90 / p10 of the dense runs {health.modes:.2f}"]
    if health.preempted is not None:
        said.append(f"preempted {health.preempted:.1%}")
    return ", ".join([*said, f"stolen {health.steal:.1%}"])


def commands(run: Run) -> list[tuple[str, str]]:
    """What repeats the run, and what judges its models again."""
    found = [("Repeat this run", command_line.search_command(run.request, together=run.together))]
    for made in run.models:
        if made.check:
            # A page is passed on: of the absolute path it has the name alone, as run.json has.
            where = run.name if run.path.is_absolute() else str(run.path)
            folder = "/".join(filter(None, (where, made.name)))
            fingerprint = _machine(made.check)
            request = dict(run.request)
            if made.name:
                budget = request.get("budget")
                limits = budget if isinstance(budget, dict) else {}
                request["budget"] = {**limits, "latency": _asked(run, made)}
            name = f"Judge {made.name}x again" if made.name else "Judge its model again"
            table = run.record.stand_in
            elsewhere = table is not None and table.kind == "carried"
            fingerprint = table.machine if elsewhere and table else fingerprint
            command = command_line.check_command(request, folder, fingerprint, elsewhere=elsewhere)
            found.append((name, command))
    return found


def _asked(run: Run, made: Made) -> float | None:
    return next((m.latency for m in run.record.family if m.folder == made.name), None)
