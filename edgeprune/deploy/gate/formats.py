"""Writes a report as JUnit XML, a Markdown summary, GitHub annotations and plain text.

Every function returns a string; JSON is ``Report.to_json``.
"""

from xml.etree import ElementTree

from edgeprune.deploy.gate.verdicts import Report, Verdict

ANNOTATIONS = 10  # GitHub shows no more of a kind in one step
SUMMARY_BYTES = 60_000  # GitHub drops a summary over 1 MB; a page of this size is still read


def to_junit(report: Report) -> str:
    """JUnit XML: one case per budget; missed is a failure, undecided and estimates are skipped."""
    cases = report.verdicts
    counts = {
        "tests": len(cases),
        "failures": sum(verdict.outcome == "missed" for verdict in cases),
        "errors": 0,
        "skipped": sum(verdict.outcome in ("inconclusive", "estimate") for verdict in cases),
    }
    shared = {key: str(value) for key, value in counts.items()}
    root = ElementTree.Element("testsuites", {"name": "edgeprune check"})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {"name": f"{report.model['file']} on {report.target['name']}", **shared}
        | {"time": f"{report.seconds:.3f}", "timestamp": report.date.removesuffix("+00:00")}
        | {"hostname": report.machine["fingerprint"]},
    )
    for verdict in cases:
        _case(suite, verdict, report)
    out = ElementTree.SubElement(suite, "system-out")
    out.text = _printable("\n".join([*health_lines(report), *report.notes]))
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"
    )


def to_markdown(report: Report) -> str:
    """A section for ``$GITHUB_STEP_SUMMARY``: one table, the notes, the machine."""
    lines = [
        f"### {report.outcome}: {_cell(report.model['file'])} on {report.target['name']}",
        "",
        "| budget | verdict | value | limit | evidence |",
        "|---|---|---|---|---|",
    ]
    for verdict in report.verdicts:
        mark = "**missed**" if verdict.outcome == "missed" else verdict.outcome
        cells = [verdict.name, mark, verdict.value_text, verdict.limit_text]
        lines.append(f"| {' | '.join(cells)} | {_cell(verdict.evidence)} |")
    lines += ["", *(f"- {_cell(line)}" for line in [*report.notes, *health_lines(report)])]
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
            escaped = _data(title).replace(":", "%3A").replace(",", "%2C")
            command = f"::{levels[verdict.outcome]} title={escaped}"
            lines.append(f"{command}::{_data(verdict.message)}")
    return "".join(line + "\n" for line in lines[:ANNOTATIONS])


def to_text(report: Report) -> str:
    """One line a verdict, note and fact of the machine, for a terminal or a log."""
    lines = [verdict.message for verdict in report.verdicts]
    lines += [f"note: {note}" for note in report.notes]
    lines += health_lines(report)
    return "\n".join(lines) + "\n"


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


def _case(suite: ElementTree.Element, verdict: Verdict, report: Report) -> None:
    name = {"name": verdict.name, "classname": f"edgeprune.{report.target['name']}"}
    timed = verdict.rule == "ratio"
    seconds = f"{report.seconds if timed else 0:.3f}"
    case = ElementTree.SubElement(suite, "testcase", {**name, "time": seconds})
    said = _printable(verdict.message)
    if verdict.outcome == "missed":
        failure = {"message": said, "type": "missed"}
        ElementTree.SubElement(case, "failure", failure).text = said
    elif verdict.outcome != "met":
        ElementTree.SubElement(case, "skipped", {"message": said})


def _printable(text: str) -> str:
    # XML 1.0 has no way to write most control characters, and a node's name may hold any.
    return "".join(c if c in "\n\t" or c >= " " else "?" for c in text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
