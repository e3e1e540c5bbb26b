"""Options that commands share: types, panels of the help, units and ranges; needs no torch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune.cli import choices, completion, values

WHAT, BUDGET, SEARCH = "What", "Budget", "Search"
RECOVERY, DEVICE, OUTPUT = "Recovery", "Device", "Output"


def _ratio_option(what: str) -> Any:
    return typer.Option(
        parser=values.ratio,
        metavar="RATIO",
        help=f"{what} as a share of the dense model's, above 0 and at most 1, or none; the "
        "profile's by default.",
        rich_help_panel=BUDGET,
    )


TargetName = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Name or path of a target profile; `edgeprune targets` lists the names.",
        autocompletion=completion.targets,
        rich_help_panel=WHAT,
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Network: resnet20, vgg16, resnet18, ..., timm/NAME, torchvision/NAME, or your own "
        "as package.module:factory.",
        autocompletion=completion.models,
        rich_help_panel=WHAT,
    ),
]
ModelArguments = Annotated[
    list[values.Argument] | None,
    typer.Option(
        "--model-arg",
        parser=values.argument,
        metavar="NAME=VALUE",
        help="Argument for the constructor of the model; may be given several times.",
        rich_help_panel=WHAT,
    ),
]
TaskWord = Annotated[
    choices.Task,
    typer.Option(
        "--task",
        help="What networks are trained and judged by: classification by labels, or outputs, how "
        "far every output is from the dense model's on images without labels.",
        rich_help_panel=WHAT,
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME or PATH",
        help="Images: digits, cifar10, cifar100, a folder with train/ and test/ or of classes "
        "alone, or a CSV list; with --task outputs any folder of pictures.",
        autocompletion=completion.images,
        rich_help_panel=WHAT,
    ),
]
Classes = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Number of outputs of the model, 1 or more.",
        min=1,
        rich_help_panel=WHAT,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Names of layers that stay whole, such as 'layer1.*'; may be given several times. "
        "Layers whose channels are coupled with theirs stay whole, too.",
        rich_help_panel=WHAT,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Names of the only layers that are pruned; may be given several times. Coupled "
        "layers are, where all of them are named.",
        rich_help_panel=WHAT,
    ),
]
Precision = Annotated[
    choices.NumberFormat | None,
    typer.Option(
        help="Number format that is searched, exported and measured; the target's by default. "
        "Ratios are to the dense fp32 model.",
        rich_help_panel=WHAT,
    ),
]
ImageSize = Annotated[
    values.Sides | None,
    typer.Option(
        "--image-size",
        parser=values.sides,
        metavar="SIDE or HEIGHTxWIDTH",
        help="Size of the input in pixels; 32 for CIFAR models and your own, else 224.",
        rich_help_panel=WHAT,
    ),
]
Mean = Annotated[
    values.PerChannel | None,
    typer.Option(
        parser=values.per_channel,
        metavar="R G B",
        help="Mean of red, green and blue, each 0 to 1, that the model was trained with, or of as "
        "many channels as it takes; ImageNet's by default.",
        rich_help_panel=WHAT,
    ),
]
Deviation = Annotated[
    values.PerChannel | None,
    typer.Option(
        parser=values.per_channel,
        metavar="R G B",
        help="Standard deviation of red, green and blue, each above 0, that the model was "
        "trained with, or of as many channels as it takes; ImageNet's by default.",
        rich_help_panel=WHAT,
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-factory",
        help="Run the code of the module:factory that the model.pt names.",
        rich_help_panel=WHAT,
    ),
]

LatencyRatio = Annotated[float | None, _ratio_option("Highest latency")]
MacsRatio = Annotated[float | None, _ratio_option("Highest MACs")]
ParamsRatio = Annotated[float | None, _ratio_option("Most parameters")]
LatencyMs = Annotated[
    float | None,
    typer.Option(
        callback=values.milliseconds,
        metavar="MS",
        help="Highest median latency in ms, above 0, on --device; replaces the profile's ratio.",
        rich_help_panel=BUDGET,
    ),
]
AccuracyDrop = Annotated[
    float | None,
    typer.Option(
        parser=values.points,
        metavar="POINTS",
        help="Most accuracy that may be lost in percentage points, 0 to 100, or none; the "
        "profile's by default.",
        rich_help_panel=BUDGET,
    ),
]
OutputError = Annotated[
    float | None,
    typer.Option(
        parser=values.percentage,
        metavar="PERCENT",
        help="Highest relative error of an output against the dense model's in percent, above 0, "
        "or none; for --task outputs. The profile's by default.",
        rich_help_panel=BUDGET,
    ),
]
FamilyRatios = Annotated[
    values.Ratios | None,
    typer.Option(
        parser=values.falling,
        metavar="RATIOS",
        help="One model for each of several falling latency ratios, each above 0 and below 1, "
        "such as 0.7,0.5,0.35.",
        rich_help_panel=BUDGET,
    ),
]

Epochs = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Passes of the fine-tuning over the images, 0 or more; 0 trains nothing.",
        min=0,
        rich_help_panel=RECOVERY,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--lr",
        metavar="RATE",
        help="Highest learning rate of the fine-tuning by SGD, above 0; 0.05 by default. AdamW, "
        "for networks of LayerNorm or GroupNorm, takes a fiftieth of it.",
        rich_help_panel=RECOVERY,
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Images per training step, 2 or more; 128 by default, 64 on the digits.",
        rich_help_panel=RECOVERY,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="Temperature that softens both networks' outputs, above 0; 4 by default.",
        rich_help_panel=RECOVERY,
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Weight of the dense model's answers against the labels, 0 (labels alone) "
        "to 1; 0.7 by default.",
        rich_help_panel=RECOVERY,
    ),
]
Smoothing = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of each label spread over all classes, 0 to below 1; 0, the default, turns "
        "it off.",
        rich_help_panel=RECOVERY,
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        metavar="DECAY",
        help="Decay per step of a running average of the weights, between 0 and 1, such as "
        "0.999; off by default.",
        rich_help_panel=RECOVERY,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Seed of every random draw, 0 to 4294967295.",
        min=0,
        max=(1 << 32) - 1,
        rich_help_panel=SEARCH,
    ),
]

Uri = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="URI",
        help="Where to measure: local://, ssh://user@host[:port], exec:COMMAND (that starts "
        "Python) or emulate://CORE (no times); the target's by default, else local://.",
        autocompletion=completion.devices,
        rich_help_panel=DEVICE,
    ),
]
RunFolderPath = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Run folder; runs/MODEL-TARGET-001, counted up, by default.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace what an earlier call has written there.",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE or -",
        help="File for the result as JSON; - prints it alone on stdout, all else on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
