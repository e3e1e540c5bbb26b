"""One report in every format: valid JUnit, a table, annotations that GitHub can read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeprune.deploy.gate.check import Options, check
from edgeprune.deploy.gate.failure import Failure
from edgeprune.deploy.gate.formats import (
    SUMMARY_BYTES,
    to_annotations,
    to_junit,
    to_markdown,
    to_text,
)
from edgeprune.deploy.gate.verdicts import Report, Verdict, of_value
from edgeprune.target import TargetProfile
from edgeprune.text import one_line

SCHEMA = Path(__file__).with_name("data") / "junit.xsd"


@pytest.fixture
def schema() -> Any:
    """JUnit's format as a schema."""
    xmlschema = pytest.importorskip("xmlschema", reason="the dev extra installs xmlschema")
    return xmlschema.XMLSchema(SCHEMA)


@pytest.fixture
def report(record: Callable[..., Any], files: tuple[Path, Path]) -> Report:
    """A report with one verdict of each kind."""
    budget = {
        "relative": {"latency": 0.7, "accuracy_drop": 1.0},
        "absolute": {"p90_ms": 4.0, "file_bytes": 10},
    }
    document = {"schema": 1, "name": "t", "proxy_for": "a | phone", "budget": budget}
    profile = TargetProfile.model_validate(document)
    options = Options(baseline=files[1], device=record(ratios=[0.7]))
    return check(files[0], profile, options)


def with_evidence(report: Report, evidence: str) -> Report:
    return replace(report, verdicts=tuple(replace(v, evidence=evidence) for v in report.verdicts))


def test_the_report_has_every_outcome(report: Report) -> None:
    assert [(verdict.name, verdict.outcome) for verdict in report.verdicts] == [
        ("latency", "inconclusive"),
        ("accuracy_drop", "inconclusive"),
        ("kernel_layout", "met"),
        ("p90_ms", "estimate"),
        ("file_bytes", "missed"),
    ]


@pytest.mark.parametrize("evidence", ["plain", 'a <b> & "c"', "bell \x07 and\nline", "ünicode ✓"])
def test_junit_is_valid(report: Report, schema: Any, evidence: str) -> None:
    text = to_junit(with_evidence(report, evidence))
    schema.validate(text)
    suite = ElementTree.fromstring(text)[0]
    counted = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "5", "failures": "1", "errors": "0", "skipped": "3"}
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [v.name for v in report.verdicts]
    inside = [[child.tag for child in case] for case in cases]
    assert inside == [["skipped"], ["skipped"], [], ["skipped"], ["failure"]]


def test_lines_stay_short(report: Report) -> None:
    long = replace(with_evidence(report, "x" * 5000), notes=("y" * 5000,))
    assert max(map(len, to_text(long).splitlines())) == 400
    assert max(map(len, to_annotations(long).splitlines())) < 500
    lengths = [len(line) for line in to_markdown(long).splitlines()]
    assert max(lengths) < 500
    assert "x" * 5000 in long.to_json()


@pytest.mark.parametrize(
    "said", ["plain", 'a <b> & "c"', "bell \x07 and\nline\ufffe", "x" * 5000, ""]
)
@pytest.mark.parametrize("code", [2, 3, 70])
def test_a_failure_is_read_by_machines(schema: Any, said: str, code: int) -> None:
    failure = Failure(model="m.onnx", target="t", reason=said, exit_code=code)
    schema.validate(failure.to_junit())
    suite = ElementTree.fromstring(failure.to_junit())[0]
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("1", "1", "0")
    error = suite.find("testcase/error")
    assert error is not None
    assert len(error.get("message") or "") <= 400
    body = json.loads(failure.to_json())
    assert (body["outcome"], body["exit_code"], body["verdicts"]) == ("error", code, [])
    assert len(body["reason"]) == len(one_line(said))
    command = failure.to_annotation()
    assert command.startswith("::error title=m.onnx%3A ")
    assert command.count("\n") == 1
    assert len(command) < 500


def test_the_schema_refuses_what_is_no_report(report: Report, schema: Any) -> None:
    broken = to_junit(report).replace('tests="5"', 'tests="four"')
    assert not schema.is_valid(broken)


def test_junit_tells_the_health_of_the_machine(report: Report) -> None:
    said = ElementTree.fromstring(to_junit(report))[0].findtext("system-out") or ""
    assert "health: preempted 1.0%" in said
    assert "t stands in for a | phone" in said


def test_markdown_is_one_table(report: Report) -> None:
    lines = to_markdown(report).splitlines()
    assert lines[0] == "### missed: model.onnx on t"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(report.verdicts)
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
    assert "| latency | inconclusive | 0.700x [0.697, 0.704] | 0.700x |" in rows[2]
    assert "- t stands in for a \\| phone" in lines


def test_markdown_stays_small_enough_for_github(report: Report) -> None:
    many = replace(report, verdicts=report.verdicts * 40)
    text = to_markdown(with_evidence(many, "é" * 1000))
    assert len(text.encode()) < SUMMARY_BYTES + 100
    assert text.endswith("(cut; see the JSON report)\n")


@pytest.mark.parametrize(
    ("policy", "levels"),
    [
        ("warn", ["error", "warning", "warning", "warning"]),
        ("fail", ["error", "error", "error", "error"]),
        ("pass", ["error"]),
    ],
)
def test_annotations(report: Report, policy: Any, levels: list[str]) -> None:
    lines = to_annotations(replace(report, on_inconclusive=policy)).splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"::{level}" for level in levels]
    assert lines[0].startswith("::error title=model.onnx%3A file_bytes missed::missed: file_bytes")


def test_annotations_are_escaped_and_capped(report: Report) -> None:
    verdict = replace(report.verdicts[-1], evidence="50 %\nnext")
    text = to_annotations(replace(report, verdicts=(verdict,) * 12))
    assert text.count("\n") == 10
    assert "50 %25%0Anext" in text


def test_names_from_the_file_never_forge_a_line(report: Report) -> None:
    found = of_value("kernel_layout", 0, 1, "", "left: a\n::error::b\r\x1b[2J\u2028c")
    assert found.evidence == "left: a ::error::b [2J c"
    forged = replace(report, verdicts=(found,) * len(report.verdicts))
    assert to_text(forged).count("\n") == to_text(report).count("\n")
    assert not [line for line in to_text(forged).splitlines() if line.startswith("::")]


def test_no_annotation_without_a_problem(report: Report) -> None:
    met: tuple[Verdict, ...] = tuple(v for v in report.verdicts if v.outcome == "met")
    assert to_annotations(replace(report, verdicts=met)) == ""


def test_text_has_a_line_for_everything(report: Report) -> None:
    text = to_text(report)
    assert text.count("\n") == 5 + len(report.notes) + 2
    assert "missed: file_bytes" in text
    assert "limit 0.700x (+0.0%)" in text
    assert "machine: test-1-2-2c-" in text


def test_settings_of_the_machine_are_told_where_they_can_be_read(report: Report) -> None:
    machine = report.machine | {"governor": "powersave", "cgroup_quota": "50000 100000"}
    text = to_text(replace(report, machine=machine, health=None))
    assert "machine: governor powersave" in text
    assert "machine: CPU quota 50000 100000" in text
    assert "health" not in text


def test_a_budget_of_any_name_leaves_the_table_whole(report: Report) -> None:
    odd = replace(report.verdicts[0], name="a|b\x1b[31m")
    lines = to_markdown(replace(report, verdicts=(odd,))).splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[4].startswith("| a\\|b [31m |")


def test_a_budget_of_yes_or_no_has_no_numbers_in_the_summary(report: Report) -> None:
    seal = of_value("seal", 0, 0, "", "the file is as it was exported")
    text = to_markdown(replace(report, verdicts=(seal,)))
    assert "| seal | met |  |  | the file is as it was exported |" in text
