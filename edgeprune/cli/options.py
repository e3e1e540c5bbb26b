"""Options that commands share: their types, help texts and validation; needs no torch."""

import math
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer


class Policy(StrEnum):
    """What an undecided budget means."""

    warn = "warn"
    fail = "fail"
    passed = "pass"


class GitHub(StrEnum):
    """Whether to write annotations and a step summary."""

    auto = "auto"
    on = "on"
    off = "off"


class Compensation(StrEnum):
    """What the layers that stay do about what was removed, before any training."""

    auto = "auto"
    refit = "refit"
    fold = "fold"
    none = "none"


class GenomeKind(StrEnum):
    """What gwcs evolves."""

    widths = "widths"
    bits = "bits"


class Ratios(tuple[float, ...]):
    """Latency ratios of a family, falling."""


class Sides(tuple[int, int]):
    """Height and width of an image in pixels."""


class Argument(tuple[str, str | int | float | bool]):
    """Name and value of an argument for a model's constructor."""


def _limit(text: str, most: float = math.inf) -> float:
    """A number, or infinity for ``none``: the profile's limit is dropped."""
    try:
        number = float("inf" if text == "none" else text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor none") from None
    if math.isnan(number) or number < 0 or most < number < math.inf:
        limit = "" if most == math.inf else f" of at most {most:g}"
        raise typer.BadParameter(f"{text} is not a positive number{limit}, nor none")
    return number


def _ratio(text: str) -> float:
    """A limit on a ratio: above 0."""
    number = _limit(text)
    if number == 0:
        raise typer.BadParameter(f"{text} is not a positive number, nor none")
    return number


def _points(text: str) -> float:
    """A limit on percentage points: 0 to 100."""
    return _limit(text, 100)


def _falling(text: str) -> Ratios:
    """Ratios separated by commas, each below the one before."""
    from edgeprune.deploy.gate.relative import check_limit

    wanted = f"{text!r}: latency ratios from the slowest down, such as 0.7,0.5, each once"
    try:
        ratios = Ratios(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(wanted) from None
    for ratio in ratios:
        check_limit(ratio, "a ratio of --family")
    if any(after >= before for before, after in pairwise(ratios)):
        raise typer.BadParameter(wanted)
    return ratios


def _sides(text: object) -> Sides:
    """``96`` or ``96x160``, height first."""
    parts = str(text).lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"--image-size wants pixels such as 96 or 96x160, not {text!r}")
    return Sides((int(parts[0]), int(parts[-1])))


def _milliseconds(limit: float | None) -> float | None:
    if limit is not None and not 0 < limit < math.inf:
        raise typer.BadParameter(f"{limit:g} is not a positive number of milliseconds")
    return limit


def _argument(text: str) -> Argument:
    """``NAME=VALUE``; a value that reads as a number or a truth value is one."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"--model-arg wants NAME=VALUE, not {text!r}")
    for kind in (int, float):
        try:
            return Argument((name, kind(value)))
        except ValueError:
            continue
    return Argument((name, {"true": True, "false": False}.get(value.lower(), value)))


def _ratio_option(what: str) -> Any:
    help = f"{what} as a share of the dense model's, or none; the profile's by default."
    return typer.Option(parser=_ratio, metavar="RATIO", help=help)


TargetName = Annotated[
    str,
    typer.Option("--target", help="Name or path of a target profile; `targets` lists the names."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier call has written there.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-factory", help="Run the code of the module:factory that the model.pt names."
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="Network: resnet20, vgg16, resnet18, ..., timm/NAME, torchvision/NAME, or your own "
        "as package.module:factory.",
    ),
]
ModelArguments = Annotated[
    list[Argument] | None,
    typer.Option(
        "--model-arg",
        parser=_argument,
        metavar="NAME=VALUE",
        help="Argument for the constructor of the model; may be given several times.",
    ),
]
Classes = Annotated[int, typer.Option(help="Number of outputs of the model.", min=1)]
Uri = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where to measure: local://, ssh://user@host[:port], exec:COMMAND (that starts "
        "Python) or emulate://CORE (no times); the target's by default, else local://.",
    ),
]
Side = Annotated[
    int | None,
    typer.Option(
        help="Side of the square input in pixels; 32 for CIFAR models and your own, else 224.",
        min=1,
    ),
]
ImageSides = Annotated[
    Sides | None,
    typer.Option(
        "--image-size",
        parser=_sides,
        metavar="SIDE or HEIGHTxWIDTH",
        help="Size of the input in pixels; 32 for CIFAR models and your own, else 224.",
    ),
]
Mean = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        help="Mean of red, green and blue, 0 to 1, that the model was trained with; "
        "ImageNet's by default."
    ),
]
Deviation = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        help="Standard deviation of red, green and blue that the model was trained "
        "with; ImageNet's by default."
    ),
]
LatencyRatio = Annotated[float | None, _ratio_option("Highest latency")]
MacsRatio = Annotated[float | None, _ratio_option("Highest MACs")]
ParamsRatio = Annotated[float | None, _ratio_option("Most parameters")]
LatencyMs = Annotated[
    float | None,
    typer.Option(
        callback=_milliseconds,
        help="Highest median latency in ms on --device; replaces the profile's latency ratio.",
    ),
]
AccuracyDrop = Annotated[
    float | None,
    typer.Option(
        parser=_points,
        metavar="POINTS",
        help="Most accuracy that may be lost in percentage points, 0 to 100, or none; the "
        "profile's by default.",
    ),
]
FamilyRatios = Annotated[
    Ratios | None,
    typer.Option(
        parser=_falling,
        metavar="RATIOS",
        help="One model for each of several falling latency ratios, such as 0.7,0.5,0.35.",
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        "--data", help="Images: digits, cifar10, cifar100 or a folder with train/ and test/."
    ),
]
Epochs = Annotated[
    int, typer.Option(help="Number of passes of the fine-tuning over the images.", min=0)
]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.", min=0)]
Rate = Annotated[
    float | None,
    typer.Option("--lr", help="Highest learning rate of the fine-tuning; 0.05 by default."),
]
Batch = Annotated[
    int | None, typer.Option(help="Images per training step; 128 by default, 64 on the digits.")
]
Temperature = Annotated[
    float | None,
    typer.Option(help="Temperature that softens both networks' outputs; 4 by default."),
]
Weight = Annotated[
    float | None,
    typer.Option(
        help="Weight of the dense model's answers against the labels, 0 (labels alone) "
        "to 1; 0.7 by default."
    ),
]
Smoothing = Annotated[
    float | None,
    typer.Option(
        help="Share of each label spread over all classes, 0 to 1; 0, the default, turns it off."
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        help="Decay per step of a running average of the weights, such as 0.999; off by default."
    ),
]
Json = Annotated[
    str | None, typer.Option("--json", help="File for the result as JSON; - prints it instead.")
]
RunFolderPath = Annotated[
    Path | None,
    typer.Option(help="Run folder; runs/MODEL-TARGET-001, counted up, by default."),
]
