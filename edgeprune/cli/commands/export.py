"""The command export: a model.pt, or a dense checkpoint by name, to a sealed ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import completion, options, values
from edgeprune.cli.command import Command
from edgeprune.cli.requirements import needs_search
from edgeprune.errors import InputError

if TYPE_CHECKING:
    from edgeprune.export.sealed_file import Shipped

export_app = typer.Typer()
FILE = "What the file is"


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
    image_size: options.Side = None,
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
    overwrite: options.Overwrite = False,
    json: options.Json = None,
    trust_factory: options.Trust = False,
) -> None:
    """Export a model.pt to a sealed ONNX file that gives torch's answers."""
    needs_search("export")
    from edgeprune.cli.output import ready
    from edgeprune.export.file_options import FileOptions
    from edgeprune.export.sealed_file import export_checkpoint

    asked = FileOptions(
        dynamic_batch=dynamic_batch,
        opset=opset,
        ort=ort,
        parity_images=parity_images,
        licence=licence,
        model_version=model_version,
    )
    ready(json, checkpoint, output)
    if model is None:
        of_model = {
            "--classes": classes,
            "--data": data,
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
    from edgeprune.prune.images.held import IMAGENET, Normalisation
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import side
    from edgeprune.target import load_target

    if data and classes:
        raise InputError("--classes with --data: the images name the classes")
    profile = load_target(target or "mobile-cpu")
    request = DenseRequest(
        weights=checkpoint,
        spec=ModelSpec(model, classes or 1000, dict(model_arg or ())),
        source=data,
        size=side(model, image_size, profile),
        normalisation=Normalisation(mean or IMAGENET.mean, std or IMAGENET.std),
        target=profile,
    )
    _tell(export_dense(request, output, overwrite=overwrite, options=asked), json)


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
    if shipped.ort:
        typer.echo(f"{shipped.ort}: the same in ORT format, compared on the same images")
    if shipped.images_inside:
        typer.echo(
            f"{shipped.images_inside} of those images travel inside the file; --parity-images "
            "none leaves them out"
        )
