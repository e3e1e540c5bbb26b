"""The commands that look into an ONNX file: doctor and inspect; neither needs torch."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options

files_app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Shape(tuple[str, tuple[int, ...]]):
    """Name of an input, empty for the only one, and its shape."""


def _shape(text: str) -> Shape:
    """``1x3x224x224`` or ``NAME=1x3x224x224``."""
    name, equals, sizes = text.rpartition("=")
    parts = sizes.lower().split("x")
    if (equals and not name) or not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"--shape wants sizes such as 1x3x224x224, not {text!r}")
    return Shape((name, tuple(int(part) for part in parts)))


Shapes = Annotated[
    list[Shape] | None,
    typer.Option(
        "--shape",
        parser=_shape,
        metavar="[NAME=]1x3x224x224",
        help="Shape of an input where the file leaves it open; may be given several times.",
    ),
]


@files_app.command()
def doctor(
    file: Annotated[Path, typer.Argument(help="The ONNX file to examine, anybody's.")],
    baseline: Annotated[
        Path | None,
        typer.Option(help="ONNX file that this one should be faster than, such as dense.onnx."),
    ] = None,
    target: options.TargetName = "mobile-cpu",
    shape: Shapes = None,
    device: options.Uri = None,
    max_seconds: Annotated[
        float, typer.Option(help="Longest time in seconds; what fits is tried.", min=5)
    ] = 60.0,
    json: options.Json = None,
) -> None:
    """Say why an ONNX file is not faster: causes, what trying them saves here, what to do."""
    from edgeprune.cli.reports import Reports, tell
    from edgeprune.deploy.devices.device import connect
    from edgeprune.deploy.doctor import examine
    from edgeprune.target import load_target

    Reports(json=json, junit=None, github=False).clear(file, baseline)
    profile = load_target(target)
    asked = examine.Options(
        baseline=baseline,
        shapes=dict(shape or ()),
        max_seconds=max_seconds,
        device=connect(device or profile.device.uri),
    )
    found = examine.examine(file, profile, asked)
    tell(found.to_json(), json, found.to_text())


@files_app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="The ONNX file to describe, anybody's.")],
    json: options.Json = None,
) -> None:
    """Say what an ONNX file is: record, seal, precision, counts, layers, kernels here."""
    from edgeprune.cli.reports import Reports, tell
    from edgeprune.deploy.doctor.describe import describe

    Reports(json=json, junit=None, github=False).clear(file)
    found = describe(file)
    tell(found.to_json(), json, found.to_text())
