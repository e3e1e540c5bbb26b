"""The command export: a model.pt, or a dense checkpoint by name, to a sealed ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import choices, completion, options, values
from edgeprune.cli.command import Command
from edgeprune.errors import InputError
from edgeprune.requirements import needs_search

if TYPE_CHECKING:
    from edgeprune.export.sealed_file import Shipped

export_app = typer.Typer()
FILE = "What the file is"
QUANTISATION = "int8"


@export_app.command(cls=Command)
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The model.pt of a search, or with --model a dense checkpoint."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="ONNX file to write; model.onnx beside it by default.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name or path of a target profile; the checkpoint's by default.",
            autocompletion=completion.targets,
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the network whose dense weights the checkpoint holds.",
            autocompletion=completion.models,
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Outputs of --model, 1 or more; those of --data or 1000 by default.",
            min=1,
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    data: options.Images = None,
    image_size: options.ImageSize = None,
    mean: options.Mean = None,
    std: options.Deviation = None,
    model_arg: options.ModelArguments = None,
    dynamic_batch: Annotated[
        bool,
        typer.Option(
            "--dynamic-batch",
            help="Let the file take any number of images.",
            rich_help_panel=FILE,
        ),
    ] = False,
    opset: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Version of the operators, 7 or more; 18 to 20 are proven.",
            min=7,
            rich_help_panel=FILE,
        ),
    ] = 20,
    ort: Annotated[
        bool,
        typer.Option(
            "--ort",
            help="Write ORT format for mobile builds beside the file, too.",
            rich_help_panel=FILE,
        ),
    ] = False,
    parity_images: Annotated[
        values.Count | None,
        typer.Option(
            parser=values.images,
            metavar="N or none",
            help="Real images that travel inside the file, for its own parity check; 4 by "
            "default, none leaves no image in it.",
            rich_help_panel=FILE,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Licence to record, such as Apache-2.0.",
            rich_help_panel=FILE,
        ),
    ] = None,
    model_version: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of the release to record, 0 or more.",
            min=0,
            max=(1 << 63) - 1,
            rich_help_panel=FILE,
        ),
    ] = 0,
    precision: options.Precision = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="List of calibration images for int8, by path or by its name in "
            "calibration/images; drawn anew from --data by default.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
    calibration_images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Images to draw for int8, 8 to 1024; 128 by default.",
            min=8,
            max=1024,
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
    calibration_method: Annotated[
        choices.CalibrationMethod | None,
        typer.Option(
            help="Ranges of the activations in int8: the extremes (minmax), all but 0.001 % "
            "(percentile), or what keeps most of the distribution (entropy, slow); auto takes the "
            "extremes, and the percentile where that loses less.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="Layer to leave in float, * allowed; may be given several times. auto leaves "
            "what wins most for its time, none leaves none.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
    device: options.Uri = None,
    overwrite: options.Overwrite = False,
    json: options.Json = None,
    trust_factory: options.Trust = False,
) -> None:
    """Export a model.pt to a sealed ONNX file that gives torch's answers."""
    needs_search("edgeprune export")
    from edgeprune.cli.output import ready
    from edgeprune.deploy.devices.device import Local, connect
    from edgeprune.export.checkpoint_file import export_checkpoint
    from edgeprune.export.file_options import FileOptions
    from edgeprune.export.int8_request import Int8Request

    asked = FileOptions(
        dynamic_batch=dynamic_batch,
        opset=opset,
        ort=ort,
        parity_images=parity_images,
        licence=licence,
        model_version=model_version,
        precision={
            "mode": precision,
            "calibration_images": calibration_images,
            "calibration_method": calibration_method,
            "exclude": _excluded(exclude),
        },
        int8=Int8Request(
            source=data, calibration=calibration, device=connect(device or Local.uri)
        ),
    )
    ready(json, checkpoint, output)
    if model is None:
        of_model = {
            "--classes": classes,
            "--image-size": image_size,
            "--mean": mean,
            "--std": std,
            "--model-arg": model_arg,
        }
        if given := [name for name, value in of_model.items() if value]:
            raise InputError(f"{given[0]} goes with --model; a model.pt knows it")
        _tell(
            export_checkpoint(
                checkpoint,
                output,
                target,
                overwrite=overwrite,
                trust_factory=trust_factory,
                options=asked,
            ),
            json,
        )
        return
    from edgeprune.export.dense_file import DenseRequest, export_dense
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import normalisation_of, size_of
    from edgeprune.target import load_target
    from edgeprune.target_overrides import with_precision

    if data and classes:
        raise InputError("--classes with --data: the images name the classes")
    profile = with_precision(load_target(target or "mobile-cpu"), asked.precision)
    spec = ModelSpec(model, classes or 1000, dict(model_arg or ()))
    request = DenseRequest(
        weights=checkpoint,
        spec=spec,
        source=data,
        size=size_of(model, image_size, profile),
        normalisation=normalisation_of(spec, mean, std, profile),
        target=profile,
    )
    _tell(export_dense(request, output, overwrite=overwrite, options=asked), json)


def _excluded(names: list[str] | None) -> str | tuple[str, ...] | None:
    """As the profile's ``precision.exclude``: a word alone, or names of layers."""
    if not names:
        return None
    return names[0] if names in (["auto"], ["none"]) else tuple(names)


def _tell(shipped: "Shipped", json: str | None) -> None:
    from edgeprune.cli import records
    from edgeprune.cli.output import document, tell

    found = document("edgeprune.export/1", records.export(shipped))
    tell(found, json, lambda: _show(shipped))


def _show(shipped: "Shipped") -> None:
    compared = shipped.parity
    typer.echo(
        f"{shipped.path}: {shipped.bytes:,} bytes for {shipped.target.name}, "
        f"{compared.max_abs:.1e} from torch on {compared.images} real images"
    )
    for line in shipped.said:
        typer.echo(line)
    if shipped.ort:
        typer.echo(f"{shipped.ort}: the same in ORT format, compared on the same images")
    if shipped.images_inside:
        typer.echo(
            f"{shipped.images_inside} of those images travel inside the file; --parity-images "
            "none leaves them out"
        )
