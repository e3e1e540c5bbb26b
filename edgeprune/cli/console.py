"""Prints tables and summaries in a terminal."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from edgeprune.cli import next_steps
from edgeprune.deploy.gate import formats
from edgeprune.text import shortened

if TYPE_CHECKING:
    from edgeprune.deploy.table.probe import ProbeReport
    from edgeprune.prune.space.selection import LeftWhole
    from edgeprune.prune.tracing.trace import Trace
    from edgeprune.run.family import Family, Member
    from edgeprune.run.listing import Listed
    from edgeprune.run.outcome import Outcome, Row
    from edgeprune.run.request import Request
    from edgeprune.run.targets import Targets


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table; columns of numbers are aligned right, nothing is cut off."""
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        column = [row[place] for row in rows]
        numbers = all(cell.lstrip("+-.")[:1].isdigit() for cell in column if cell)
        shown.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    _console().print(shown)


def show_runs(runs: "Sequence[Listed]") -> None:
    """Print one row a run folder."""
    rows = [
        (
            str(run.folder),
            run.verdict,
            "" if run.latency is None else f"{run.latency:.3f}x",
            run.lost,
            run.model,
            run.target,
            run.strategy,
            run.changed.replace("T", " ").partition("+")[0],
        )
        for run in runs
    ]
    headings = ("folder", "verdict", "latency", "points lost", "model", "target", "strategy")
    table((*headings, "changed (UTC)"), rows)
    for run in runs:
        if run.reason:
            _console().print(shortened(f"{run.folder}: {run.reason}", " ..."), soft_wrap=True)


def show_channels(trace: "Trace", left: "LeftWhole", notes: Sequence[str]) -> None:
    """Print one row a channel group, what was left whole, and what could not be followed."""
    rows = [
        (
            group.name,
            str(group.width),
            str(group.stage),
            group.block or "",
            "yes" if group.droppable and group.block not in left.branches else "",
            str(len(group.slices)),
            *(["whole" if group.name in left.groups else ""] if notes else []),
        )
        for group in trace.groups
    ]
    headings = ("group", "width", "stage", "block", "droppable", "tensors")
    table((*headings, *(["left"] if notes else [])), rows)
    for note in notes:
        _console().print(note, soft_wrap=True)
    for place in trace.unfollowed:
        line = f"kept whole: {place.node} ({place.source}): {place.reason}"
        _console().print(line, soft_wrap=True)
    if not trace.groups:
        reason = "" if trace.unfollowed else ": its channels are those of its inputs and outputs"
        _console().print(f"nothing of this model can be pruned{reason}", soft_wrap=True)


def show_outcome(outcome: "Outcome", request: "Request", target: str) -> None:
    """Print what a search came to, its verdict, and the commands that make sense next."""
    judged = {verdict.name: verdict.value for verdict in outcome.report.verdicts}
    shown = [row for row in outcome.rows if row.dense or row.slim]
    rows: list[tuple[str, ...]] = [
        _cells(row, judged.get("latency") if row.name == "latency" else None) for row in shown
    ]
    in_int8 = any(row.dense_int8 is not None for row in outcome.rows)
    headings: tuple[str, ...] = ("", "dense", "slim", "slim / dense")
    if in_int8:  # what quantisation alone gains stands between, so that nobody takes it twice
        headings = ("", "dense fp32", "slim int8", "slim / dense", "dense int8")
        rows = [(*cells, _control(row)) for cells, row in zip(rows, shown, strict=True)]
    table(headings, rows)
    lines = [
        "",
        formats.to_text(outcome.report),
        *(f"note: {note}" for note in outcome.notes),
        _verdict(outcome),
        *_drawn(outcome.folder),
        "next:",
        *(f"  {command}" for command in next_steps.after(outcome, request, target)),
    ]
    _console().print("\n".join(lines), soft_wrap=True)


def _verdict(outcome: "Outcome") -> str:
    """The verdict on the run, the budgets that it hangs on, and where the run lies."""
    found, lies = outcome.report.outcome, f"the run lies in {outcome.folder}"
    if found == "met":
        return f"verdict: met, every budget is kept; {lies}"
    wanted: tuple[str, ...] = ("missed",)
    said = "not kept"
    if found != "missed":  # what is estimated elsewhere is not settled, either
        wanted, said = ("inconclusive", "estimate"), "not settled"
    names = ", ".join(v.name for v in outcome.report.verdicts if v.outcome in wanted)
    return f"verdict: {found}, {said}: {names}; {lies}"


def show_family(family: "Family", request: "Request", target: str) -> None:
    """Print one line a model, why some could not be had, and how each is checked again."""
    reached = [member.outcome for member in family.members if member.outcome]
    name = _figure_name(reached)
    headings = ("asked", "latency", "", name, "lost", "MACs", "params", "verdict", "folder")
    dense = [_dense_cells(reached[0].rows)] if reached else []
    table(headings, [*dense, *map(_member_cells, family.members)])
    lines = [f"{m.latency:g}x not reached: {m.reason}" for m in family.members if not m.outcome]
    for member in family.members:
        if member.outcome:
            missed = [v for v in member.outcome.report.verdicts if v.outcome != "met"]
            lines += [f"{member.latency:g}x {verdict.message}" for verdict in missed]
    if reached:  # what holds for one model alone stands in its own folder
        notes = [(*outcome.notes, *outcome.report.notes) for outcome in reached]
        common = [note for note in notes[0] if all(note in other for other in notes)]
        lines += [f"note: {note}" for note in common]
    met = [m for m in reached if m.report.outcome == "met"]
    lines += [
        f"verdict: {len(met)} of {len(family.members)} models met; the run lies in "
        f"{family.folder}",
        *_drawn(family.folder),
    ]
    lines += ["next:"] if reached else []
    for member in family.members:
        if member.outcome:
            own = request.within(member.latency)
            lines.append(f"  {next_steps.check(member.outcome, own, target)}")
    _console().print("\n".join(["", *lines]), soft_wrap=True)


def show_targets(found: "Targets", targets: Sequence[str]) -> None:
    """Print one line a model of each target, what was shared, and how each is checked again."""
    rows, lines, following = list[tuple[str, ...]](), list[str](), list[str]()
    for run, target in zip(found.runs, targets, strict=True):
        for member in run.members:
            where = str(member.folder.relative_to(found.folder))
            rows.append((run.name, *_member_cells(member)[:-1], where))
            if member.outcome is None:
                lines.append(f"{run.name} {member.latency:g}x not reached: {member.reason}")
                continue
            verdicts = member.outcome.report.verdicts
            lines += [f"{run.name} {v.message}" for v in verdicts if v.outcome != "met"]
            own = run.request.within(member.latency) if run.request.family else run.request
            following.append(f"  {next_steps.check(member.outcome, own, target)}")
        if run.found is None:
            rows.append((run.name, *[""] * 7, "failed", run.name))
            lines.append(f"{run.name} failed: {run.reason}")
        lines += [f"note: {run.name}: {said}" for said in run.shared]
    reached = [m.outcome for run in found.runs for m in run.members if m.outcome]
    name = _figure_name(reached)
    headings = ("target", "asked", "latency", "", name, "lost", "MACs", "params", "verdict")
    table((*headings, "folder"), rows)
    met = [run for run in found.runs if run.found and run.exit_code == 0]
    lines += [
        f"verdict: {len(met)} of {len(found.runs)} targets met; the run lies in {found.folder}",
        *_drawn(found.folder),
        *(["next:", *following] if following else []),
    ]
    _console().print("\n".join(["", *lines]), soft_wrap=True)


def _drawn(folder: Path) -> list[str]:
    """Where the report is, if it could be drawn."""
    path = folder / "report.html"
    return [f"report: {path}"] if path.is_file() else []


def _dense_cells(rows: "tuple[Row, ...]") -> tuple[str, ...]:
    from edgeprune.report.task_figure import figure_cells

    row = {row.name: row for row in rows}
    latency, shown = _latency(row), figure_cells(row)
    return ("dense", "", f"{latency.dense:.3f} ms", shown[0], "", "", "", "", "")


def _figure_name(reached: "Sequence[Outcome]") -> str:
    """What the models were judged by."""
    from edgeprune.report.task_figure import figure_in

    found = figure_in({row.name: row for outcome in reached[:1] for row in outcome.rows})
    return found[0] if found else "accuracy"


def _latency(rows: "Mapping[str, Row]") -> "Row":
    """The measured latency, or the predicted one of a device that was not there."""
    from edgeprune.report.records import PREDICTED

    return rows["latency"] if "latency" in rows else rows[PREDICTED]


def _member_cells(member: "Member") -> tuple[str, ...]:
    from edgeprune.report.task_figure import figure_cells

    asked = "" if math.isinf(member.latency) else f"{member.latency:g}x"
    folder = member.folder.name
    if member.outcome is None:
        return (asked, "", "", "", "", "", "", "not reached", folder)
    row = {row.name: row for row in member.outcome.rows}
    latency, shown = _latency(row), figure_cells(row)
    judged = {verdict.name: verdict.value for verdict in member.outcome.report.verdicts}
    ratio, predicted = judged.get("latency"), "" if "latency" in row else " predicted"
    ratio = latency.slim / latency.dense if ratio is None else ratio
    return (
        asked,
        f"{ratio:.3f}x{predicted}",
        f"{latency.slim:.3f} ms",
        *shown[1:],
        *(f"{row[name].slim / row[name].dense:.3f}x" for name in ("MACs", "params")),
        member.outcome.report.outcome,
        folder,
    )


def show_probe(report: "ProbeReport", known: str, commands: Sequence[str]) -> None:
    """Print what a device rewards, how well its table predicts, and what to do with it."""
    fit, machine = report.model.fit, report.conditions
    rows = [
        ("table", str(report.path)),
        ("machine", f"{machine.machine}, onnxruntime {machine.onnxruntime}"),
        ("channel grid", f"{' '.join(map(str, report.grid))}; {known}"),
        ("measured now", f"{report.timed_now} units, {report.doubtful} of them doubtful"),
        ("predicted from", report.model.source),
        (
            "held-out error",
            f"mean {fit.mean_error:.1%}, largest {fit.max_error:.1%}, "
            f"rank correlation {fit.rank:.3f}",
        ),
    ]
    if report.dropped:
        rows.append(("measured again", report.dropped))
    table(("", ""), rows)
    _console().print(
        "\n".join(["next:", *(f"  {command}" for command in commands)]), soft_wrap=True
    )


def _cells(row: "Row", judged: float | None) -> tuple[str, str, str, str]:
    """A row; the ratio that was judged, of interleaved pairs, stands before that of medians."""
    share = ""  # over nothing, as of an output error: the dense network has none
    if row.dense:
        points = f"{row.slim - row.dense:+.2f} points"
        share = points if row.unit == "%" else f"{judged or row.slim / row.dense:.3f}x"
    return (row.name, _text(row, row.dense), _text(row, row.slim), share)


def _control(row: "Row") -> str:
    """The dense int8 model's value, and its share of the fp32 one's where it is a cost."""
    if row.dense_int8 is None:
        return ""
    share = "" if row.unit == "%" else f" ({row.dense_int8 / row.dense:.3f}x)"
    return _text(row, row.dense_int8) + share


def _text(row: "Row", value: float) -> str:
    decimals = {"%": ".2f", "ms": ".3f"}.get(row.unit, ",.0f")
    return f"{value:{decimals}} {row.unit}".strip()


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    # A log or a pipe has no width; tables there must not be folded at 80.
    return console if console.is_terminal else Console(highlight=False, markup=False, width=160)
