"""The command check: judges an ONNX file by every budget of its target."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import choices, options, values
from edgeprune.cli.command import Command

check_app = typer.Typer()


@check_app.command(cls=Command)
def check(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file to judge.")],
    target: options.TargetName = "mobile-cpu",
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="ONNX file of the dense model; the dense.onnx beside the model by default, where "
            "it is the one that the model records.",
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    max_ratio: Annotated[
        float | None,
        typer.Option(
            parser=values.loose_ratio,
            metavar="RATIO",
            help="Highest latency as a share of the dense model's, above 0 and at most 10; the "
            "target's by default.",
            rich_help_panel=options.BUDGET,
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Budget in place of the target's, such as p90_ms=6 (milliseconds); may be given "
            "several times.",
            rich_help_panel=options.BUDGET,
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=1x3x224x224",
            help="Shape of an input that the file leaves open; NAME=1x1:0.5 also says the value "
            "of its elements, NAME=:16000 the value alone. May be given several times.",
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    on_inconclusive: Annotated[
        choices.Policy,
        typer.Option(
            help="What an undecided budget does: exit 0 with a word, exit 4, or exit 0.",
            rich_help_panel=options.BUDGET,
        ),
    ] = choices.Policy.warn,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Longest time for each timed budget in seconds, 0.1 or more; the target's by "
            "default.",
            min=0.1,
            rich_help_panel=options.DEVICE,
        ),
    ] = None,
    device: options.Uri = None,
    json: options.Json = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for the report as JUnit XML.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    github: Annotated[
        choices.GitHub,
        typer.Option(
            help="Write annotations and a step summary: on, off, or (auto) under GitHub alone.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = choices.GitHub.auto,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Time the model against itself: how small a ratio shows here?",
            rich_help_panel=options.DEVICE,
        ),
    ] = False,
) -> None:
    """Measure an ONNX file and say whether it keeps every budget of its target."""
    from edgeprune.cli.reports import Reports, on_github
    from edgeprune.deploy.devices.device import connect
    from edgeprune.deploy.gate import check as gate
    from edgeprune.target import load_target
    from edgeprune.target_overrides import with_budgets, with_inputs

    reports = Reports(json=json, junit=junit, github=on_github(github.value))
    reports.clear(model, baseline)
    with reports.of_failures(model, target):
        profile = with_inputs(with_budgets(load_target(target), budget or []), input_ or [])
        checking = gate.Options(
            baseline=baseline,
            max_ratio=max_ratio,
            on_inconclusive=on_inconclusive.value,
            max_seconds=max_seconds,
            device=connect(device or profile.device.uri),
        )
        if self_test:
            from edgeprune.deploy.gate.resolution import self_test as run_self_test

            found = run_self_test(model, profile, checking)
            reports.write_self_test(found, model, profile.name)
            raise typer.Exit(found.exit_code)
        report = gate.check(model, profile, checking)
        if said := context.obj.told(context):  # what a checkout sets for its gate is seen
            report = replace(report, notes=(*report.notes, said))
        reports.write(report)
    raise typer.Exit(report.exit_code)
