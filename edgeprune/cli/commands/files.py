"""The commands that look into an ONNX file: doctor and inspect; neither needs torch."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options, values
from edgeprune.cli.command import Command

files_app = typer.Typer()


Shapes = Annotated[
    list[values.Shape] | None,
    typer.Option(
        "--shape",
        parser=values.shape,
        metavar="[NAME=]1x3x224x224",
        help="Shape of an input where the file leaves it open; may be given several times.",
        rich_help_panel=options.WHAT,
    ),
]


@files_app.command(cls=Command)
def doctor(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The ONNX file to examine, anybody's.")
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="ONNX file that this one should be faster than, such as dense.onnx.",
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    target: options.TargetName = "mobile-cpu",
    shape: Shapes = None,
    device: options.Uri = None,
    max_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Longest time in seconds, 5 or more; what fits is tried.",
            min=5,
            rich_help_panel=options.DEVICE,
        ),
    ] = 60.0,
    json: options.Json = None,
) -> None:
    """Say why an ONNX file is not faster: causes, what trying them saves here, what to do."""
    from edgeprune.cli.output import ready, tell
    from edgeprune.deploy.devices.device import connect
    from edgeprune.deploy.doctor import examine
    from edgeprune.target import load_target

    ready(json, file, baseline)
    profile = load_target(target)
    asked = examine.Options(
        baseline=baseline,
        shapes=dict(shape or ()),
        max_seconds=max_seconds,
        device=connect(device or profile.device.uri),
    )
    found = examine.examine(file, profile, asked)
    tell(found.to_json(), json, lambda: typer.echo(found.to_text(), nl=False))


@files_app.command(cls=Command)
def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The ONNX file to describe, anybody's.")
    ],
    json: options.Json = None,
) -> None:
    """Say what an ONNX file is: record, seal, precision, counts, layers, kernels here."""
    from edgeprune.cli.output import ready, tell
    from edgeprune.deploy.doctor.describe import describe

    ready(json, file)
    found = describe(file)
    tell(found.to_json(), json, lambda: typer.echo(found.to_text(), nl=False))
