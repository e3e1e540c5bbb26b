"""The words of a report: the verdict in one sentence, key figures, notes, machine."""

import pytest

from edgeprune.report import summary
from edgeprune.report.run_files import read_run
from tests.run_folders import RESULTS, check, record, verdict


def test_the_headline_is_the_verdict_and_what_it_rests_on(run_folder):
    said = summary.headline([read_run(run_folder())])
    assert said.outcome == "inconclusive"
    assert said.title == (
        "resnet20 at 0.45x its dense latency, with 96.50 % accuracy, 0.50 points less than dense"
    )
    assert said.detail == "Accuracy is inconclusive: evidence of accuracy_drop."


def test_all_met_and_the_same_accuracy_read_so(run_folder):
    same = RESULTS | {"accuracy": {"dense": 97.0, "slim": 97.0, "unit": "%"}}
    judged = check(verdicts=check()["verdicts"][:2])
    said = summary.headline([read_run(run_folder(run=record(results=same), check=judged))])
    assert said.outcome == "met" and said.title.endswith("with the same 97.00 % accuracy")
    assert "2 of 2" in said.detail


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        ("failed", "not reached", "made no model"),
        ("interrupted", "interrupted", "--resume"),
        ("running", "running", "not finished"),
        ("<b>", "<b>", "lacks the results"),
    ],
)
def test_a_run_that_made_nothing_says_what_became_of_it(run_folder, status, outcome, words):
    run = read_run(run_folder(run=record(status=status, results={}, reason="why not")))
    said = summary.headline([run])
    assert said.outcome == outcome and words in said.title and said.detail == "why not"
    assert summary.tiles(run) == () and summary.commands(run) and summary.facts(run)


def test_a_family_is_as_good_as_its_worst(family_folder):
    run = read_run(family_folder)
    said = summary.headline([run])
    assert (said.outcome, said.detail) == (
        "not reached",
        "0.7x met, 0.5x missed, 0.1x not reached",
    )
    assert "0.1x was not reached: the best that can be had is 0.2x" in summary.notes([run])
    checks = [command for name, command in summary.commands(run) if name.startswith("Judge")]
    assert ["relative.latency=0.7" in command for command in checks] == [True, False]
    assert [row["outcome"] for row in summary.run_rows([run])][2] == "failed"


def test_several_runs_name_the_fastest_that_met_everything_and_other_machines(run_folder):
    met = check(verdicts=check()["verdicts"][:2])
    slower = check(verdicts=[verdict("latency", limit=0.7, value=0.6, unit="x")])
    slower["machine"] = slower["machine"] | {"fingerprint": "another"}
    runs = [read_run(run_folder("a", check=slower)), read_run(run_folder("b", check=met))]
    said = summary.headline(runs)
    assert "b, at 0.450x" in said.detail and "different machines" in said.detail
    none = [read_run(run_folder(name)) for name in ("c", "d")]
    assert summary.headline(none).detail == "None of them met every budget."


def test_key_figures_are_measured_ones_with_what_they_were(run_folder):
    tiles = {
        tile.name: (tile.value, tile.detail) for tile in summary.tiles(read_run(run_folder()))
    }
    assert tiles["Latency, measured"] == ("0.360 ms", "0.450x of dense 0.800 ms")
    assert tiles["MACs"] == ("0.250x", "1,000 of 4,000")
    assert tiles["File size"] == ("0.333x", "300 of 900 bytes")


def test_a_run_whose_check_is_gone_is_not_called_met(run_folder):
    run = read_run(run_folder(run=record(verdict="met"), check=None))
    said = summary.headline([run])
    assert said.outcome == "met, by run.json alone" and "cannot be read" in said.detail


def test_the_machine_the_versions_and_no_absolute_path_are_named(run_folder):
    run = read_run(run_folder())
    facts = dict(summary.facts(run))
    assert facts["versions"] == "edgeprune 0.1.0, onnxruntime 1.32.0"
    assert facts["device"] == "local://, a-cpu-2c"
    everything = str(facts) + str(summary.commands(run))
    assert str(run.path.parent) not in everything and "r20/model.onnx" in everything
