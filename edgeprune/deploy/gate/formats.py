"""Writes a report as JUnit XML, a Markdown summary, GitHub annotations and plain text.

Every function returns a string; JSON is ``Report.to_json``.
"""

from xml.etree import ElementTree

from edgeprune.deploy.gate.junit import Suite
from edgeprune.deploy.gate.verdicts import Report, Verdict
from edgeprune.text import one_line, shortened

ANNOTATIONS = 10  # GitHub shows no more of a kind in one step
SUMMARY_BYTES = 60_000  # GitHub drops a summary over 1 MB; a page of this size is still read


def to_junit(report: Report) -> str:
    """JUnit XML: one case per budget; missed is a failure, undecided and estimates are skipped."""
    suite = Suite(
        model=report.model["file"],
        target=str(report.target["name"]),
        date=report.date,
        seconds=report.seconds,
        hostname=report.machine["fingerprint"],
        out="\n".join([*health_lines(report), *report.notes]),
    )
    return suite.document([_case(suite, verdict) for verdict in report.verdicts])


def to_markdown(report: Report) -> str:
    """A section for ``$GITHUB_STEP_SUMMARY``: one table, the notes, the machine."""
    file, target = _cell(report.model["file"]), _cell(str(report.target["name"]))
    lines = [
        f"### {report.outcome}: {file} on {target}",
        "",
        "| budget | verdict | value | limit | evidence |",
        "|---|---|---|---|---|",
    ]
    for verdict in report.verdicts:
        mark = "**missed**" if verdict.outcome == "missed" else verdict.outcome
        numbers = ("", "") if verdict.yes_or_no else (verdict.value_text, verdict.limit_text)
        shown = [verdict.name, mark, *numbers]
        cells = map(_cell, [*shown, shortened(verdict.evidence)])
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        *(f"- {_cell(shortened(line))}" for line in [*report.notes, *health_lines(report)]),
    ]
    text = "\n".join(lines) + "\n"
    if len(text.encode()) <= SUMMARY_BYTES:
        return text
    return (
        text.encode()[:SUMMARY_BYTES].decode(errors="ignore") + "\n\n(cut; see the JSON report)\n"
    )


def to_annotations(report: Report) -> str:
    """GitHub workflow commands: an error per missed budget, a warning per undecided one."""
    levels = {"missed": "error"}  # what is met needs no annotation
    if report.on_inconclusive != "pass":
        level = "error" if report.on_inconclusive == "fail" else "warning"
        levels |= {"inconclusive": level, "estimate": level}
    lines = []
    for verdict in sorted(report.verdicts, key=lambda verdict: verdict.outcome != "missed"):
        if verdict.outcome in levels:
            title = f"{report.model['file']}: {verdict.name} {verdict.outcome}"
            lines.append(annotation(levels[verdict.outcome], title, verdict.message))
    return "".join(lines[:ANNOTATIONS])


def annotation(level: str, title: str, message: str) -> str:
    """One workflow command of GitHub, a line."""
    escaped = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{_data(message)}\n"


def to_text(report: Report) -> str:
    """One line a verdict, note and fact of the machine, for a terminal or a log."""
    lines = [verdict.message for verdict in report.verdicts]
    lines += [f"note: {note}" for note in report.notes]
    lines += health_lines(report)
    return "\n".join(shortened(one_line(line)) for line in lines) + "\n"


def health_lines(report: Report) -> list[str]:
    """The machine and how quiet it was; printed always, never a verdict by itself."""
    machine = report.machine
    isa = " ".join(machine["isa"]) or "unknown"
    lines = [
        f"machine: {machine['fingerprint']} at {machine['device']}, {machine['cpu']}, "
        f"{machine['cores']} cores ({machine['allowed_cores']} allowed), {isa}, "
        f"onnxruntime {machine['onnxruntime']}"
    ]
    settings = {"governor": machine["governor"], "CPU quota": machine["cgroup_quota"]}
    lines += [f"machine: {name} {value}" for name, value in settings.items() if value]
    if report.health:
        health = report.health
        lost = "" if health.preempted is None else f"preempted {health.preempted:.1%}, "
        lines.append(
            f"health: {lost}steal {health.steal:.1%}, p90/p10 of one model {health.modes:.2f}, "
            f"throttled {health.throttled_ms:.0f} ms, load {health.load:.1f}"
        )
    return lines


def _case(suite: Suite, verdict: Verdict) -> ElementTree.Element:
    tag = {"met": None, "missed": "failure"}.get(verdict.outcome, "skipped")
    seconds = suite.seconds if verdict.rule == "ratio" else 0.0
    ending = (tag, verdict.message, verdict.outcome) if tag else None
    return suite.case(verdict.name, seconds, ending)


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _data(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return one_line(escaped)
