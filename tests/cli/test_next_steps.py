"""What a search advises afterwards: only what makes sense, with options that exist."""

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from edgeprune.cli import console, next_steps
from edgeprune.cli.app import app
from edgeprune.prune.training.recipe import Recipe
from tests.cli.test_commands import member


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, []),
        ({"latency": None}, ["--budget", "relative.latency=none"]),
        ({"macs": 0.5}, ["--budget", "relative.macs=0.5"]),
    ],
)
def test_the_check_that_is_recommended_repeats_what_was_judged(tmp_path, request_, budget, words):
    asked = replace(request_, budget=request_.budget.model_copy(update=budget))
    report = SimpleNamespace(machine={})
    outcome = SimpleNamespace(folder=tmp_path, report=report, stand_in=None)
    command = next_steps.check(outcome, asked, "mobile-cpu").split()
    assert command[-len(words) :] == words if words else command[-2] == "--baseline"


@pytest.fixture
def request_():
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.request import Request
    from edgeprune.target import load_target

    target = load_target("mobile-cpu")
    return Request(target=target, model=ModelSpec("resnet20"), budget=target.budget.relative)


def outcome_of(**outcomes):
    """A run whose budgets came out so."""
    found = member(Path("runs/a"), 0.5, "met").outcome
    (verdict,) = found.report.verdicts
    verdicts = tuple(replace(verdict, name=name, outcome=it) for name, it in outcomes.items())
    return replace(found, report=replace(found.report, verdicts=verdicts))


CASES = [
    ({"latency": "met"}, ["check"], "verdict: met, every budget is kept; the run lies in runs/a"),
    (
        {"latency": "met", "accuracy_drop": "missed"},
        ["finetune", "export", "check"],
        "verdict: missed, not kept: accuracy_drop; the run lies in runs/a",
    ),
    ({"latency": "missed", "accuracy_drop": "missed"}, ["check"], "not kept: latency, accuracy"),
    ({"accuracy_drop": "inconclusive"}, ["check"], "verdict: inconclusive, not settled: accuracy"),
    ({"p50_ms": "estimate"}, ["check"], "not settled: p50_ms"),
]


@pytest.mark.parametrize(("outcomes", "commands", "said"), CASES)
def test_the_summary_ends_with_a_verdict_on_the_run_and_what_to_do_next(
    request_, capsys, outcomes, commands, said
):
    found = outcome_of(**outcomes)
    asked = replace(request_, recovery=Recipe(epochs=20), source="images/a b")
    lines = next_steps.after(found, asked, "mobile-cpu")
    assert [shlex.split(line)[1] for line in lines] == commands
    console.show_outcome(found, asked, "mobile-cpu")
    out = capsys.readouterr().out
    assert said in out
    assert out.endswith("next:\n" + "".join(f"  {line}\n" for line in lines))


def test_a_probe_of_a_device_says_how_its_table_is_used_without_it():
    path = Path("calibration/latency/board/a-4c-1.json")
    assert next_steps.after_probe(path, "board", "resnet20", "local://") == [
        "edgeprune search --target board --model resnet20"
    ]
    search, carry = next_steps.after_probe(path, "board", "resnet20", "ssh://pi@host")
    assert search == "edgeprune search --target board --model resnet20 --device ssh://pi@host"
    assert carry == f"edgeprune targets add-table {path} --target board"


@pytest.mark.parametrize("model", ["resnet20", "mynets:net"])
def test_every_advice_is_a_command_of_this_version(request_, model):
    asked = replace(request_, model=replace(request_.model, name=model), device="ssh://pi@host")
    found = outcome_of(accuracy_drop="missed")
    commands = typer.main.get_command(app).commands
    for line in next_steps.after(found, asked, "mobile-cpu"):
        _, name, *words = shlex.split(line)
        command = commands[name]
        context = command.make_context(name, words, resilient_parsing=False)
        assert not context.args
        assert ("--trust-factory" in line) == (":" in model and name != "check")
