"""The command export: a model.pt, or a dense checkpoint by name, to a sealed ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.requirements import needs_search
from edgeprune.errors import InputError

if TYPE_CHECKING:
    from edgeprune.export.sealed_file import Shipped

export_app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Count(int):
    """A number of images."""


def _images(text: str) -> Count:
    """A number, or ``none``."""
    if text != "none" and not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a number of images nor none")
    return Count(0 if text == "none" else text)


@export_app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="The model.pt of a search, or with --model a dense checkpoint.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="ONNX file to write; model.onnx beside it by default."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Name or path of a target profile; the checkpoint's by default."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the network whose dense weights the checkpoint holds."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(help="Outputs of --model; those of --data or 1000 by default.", min=1),
    ] = None,
    data: options.Images = None,
    image_size: options.Side = None,
    mean: options.Mean = None,
    std: options.Deviation = None,
    model_arg: options.ModelArguments = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Let the file take any number of images.")
    ] = False,
    opset: Annotated[
        int, typer.Option(help="Version of the operators; 18 to 20 are proven.", min=7)
    ] = 20,
    ort: Annotated[
        bool,
        typer.Option("--ort", help="Write ORT format for mobile builds beside the file, too."),
    ] = False,
    parity_images: Annotated[
        Count | None,
        typer.Option(
            parser=_images,
            metavar="N or none",
            help="Real images that travel inside the file, for its own parity check; 4 by "
            "default, none leaves no image in it.",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence to record, such as Apache-2.0.")
    ] = None,
    model_version: Annotated[
        int, typer.Option(help="Number of the release to record.", min=0, max=(1 << 63) - 1)
    ] = 0,
    precision: options.Precision = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="List of calibration images for int8, by path or by its name in "
            "calibration/images; drawn anew from --data by default."
        ),
    ] = None,
    calibration_images: Annotated[
        int | None,
        typer.Option(help="Images to draw for int8; 128 by default.", min=8, max=1024),
    ] = None,
    calibration_method: Annotated[
        options.CalibrationMethod | None,
        typer.Option(
            help="Ranges of the activations in int8: the extremes (minmax), all but 0.001 % "
            "(percentile), or what keeps most of the distribution (entropy, slow); auto takes the "
            "extremes, and the percentile where that loses less."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Layer to leave in float, * allowed; may be given several times. auto leaves "
            "what wins most for its time, none leaves none."
        ),
    ] = None,
    device: options.Uri = "local://",
    overwrite: options.Overwrite = False,
    trust_factory: options.Trust = False,
) -> None:
    """Export a model.pt to a sealed ONNX file that gives torch's answers."""
    needs_search("export")
    from edgeprune.deploy.devices.device import connect
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
        int8=Int8Request(source=data, calibration=calibration, device=connect(device)),
    )
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
            )
        )
        return
    from edgeprune.export.dense_file import DenseRequest, export_dense
    from edgeprune.prune.images.held import IMAGENET, Normalisation
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import side
    from edgeprune.target import load_target
    from edgeprune.target_overrides import with_precision

    if data and classes:
        raise InputError("--classes with --data: the images name the classes")
    profile = with_precision(load_target(target or "mobile-cpu"), asked.precision)
    request = DenseRequest(
        weights=checkpoint,
        spec=ModelSpec(model, classes or 1000, dict(model_arg or ())),
        source=data,
        size=side(model, image_size, profile),
        normalisation=Normalisation(mean or IMAGENET.mean, std or IMAGENET.std),
        target=profile,
    )
    _tell(export_dense(request, output, overwrite=overwrite, options=asked))


def _excluded(names: list[str] | None) -> str | tuple[str, ...] | None:
    """As the profile's ``precision.exclude``: a word alone, or names of layers."""
    if not names:
        return None
    return names[0] if names in (["auto"], ["none"]) else tuple(names)


def _tell(shipped: "Shipped") -> None:
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
