"""Parses the values of options: ratios, points, sizes, arguments; each refusal is one line."""

import math
import re
from itertools import pairwise
from typing import NoReturn

import typer

MOST_RATIO = 10.0  # above it nobody means a ratio


class Ratios(tuple[float, ...]):
    """Latency ratios of a family, falling."""


class Sides(tuple[int, int]):
    """Height and width of an image in pixels."""


class PerChannel(tuple[float, ...]):
    """One number for each channel of an image."""


class Argument(tuple[str, str | int | float | bool]):
    """Name and value of an argument for a model's constructor."""


class Shape(tuple[str, tuple[int, ...]]):
    """Name of an input, empty for the only one, and its shape."""


class Count(int):
    """A number of images."""


def number(text: str, most: float = math.inf) -> float:
    """A number, or infinity for ``none``: the profile's limit is dropped."""
    try:
        found = float("inf" if text == "none" else text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor none") from None
    if math.isnan(found) or found < 0 or most < found < math.inf:
        limit = "" if most == math.inf else f" of at most {most:g}"
        raise typer.BadParameter(f"{text} is not a positive number{limit}, nor none")
    return found


def ratio(text: str) -> float:
    """A limit on a ratio to the dense model: above 0 and at most 1, or none."""
    found = number(without_percent(text))
    if found == 0:
        raise typer.BadParameter(f"{text} is not a positive number, nor none")
    if 1 < found < math.inf:
        refuse_above_one(text, found)
    return found


def loose_ratio(text: str) -> float:
    """A limit of a gate on a ratio: also a little above 1, but no percentage."""
    try:
        found = float(without_percent(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None
    if found > MOST_RATIO:
        refuse_above_one(text, found)
    return found


def without_percent(text: object) -> str:
    """The text, unless it is a percentage: the ratio that is meant is named."""
    shown = str(text).strip()
    try:
        share = float(shown.removesuffix("%")) / 100
    except ValueError:
        return shown
    if shown.endswith("%"):
        raise typer.BadParameter(f"{shown} is a percentage; the ratio is {share:g}")
    return shown


def refuse_above_one(text: object, found: float) -> NoReturn:
    """Name the ratio that a number above 1 was probably meant to be."""
    if found > MOST_RATIO:
        meant = f"for {found:g} % of it take {found / 100:g}"
    else:
        meant = f"for {1 / found:.3g} of it, {found:g} times as fast, take {1 / found:.3g}"
    raise typer.BadParameter(f"{text} is above 1, the dense model itself; {meant}")


def points(text: str) -> float:
    """A limit on percentage points: 0 to 100."""
    shown = str(text).strip()
    if shown.endswith("%"):
        raise typer.BadParameter(f"{shown} is given in points; take {shown.removesuffix('%')}")
    return number(shown, 100)


def percentage(text: str) -> float:
    """A limit in percent: above 0."""
    shown = str(text).strip().removesuffix("%").strip()
    found = number(shown, math.inf)
    if found == 0:
        raise typer.BadParameter(f"{text!r} is not above 0")
    return found


def falling(text: str) -> Ratios:
    """Ratios separated by commas, each below the one before."""
    from edgeprune.deploy.gate.relative import check_limit

    wanted = f"{text!r}: latency ratios from the slowest down, such as 0.7,0.5, each once"
    try:
        ratios = Ratios(float(without_percent(part)) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(wanted) from None
    for each in ratios:
        if each > 1:
            refuse_above_one(f"{each:g}", each)
        check_limit(each, "a ratio of --family")
    if any(after >= before for before, after in pairwise(ratios)):
        raise typer.BadParameter(wanted)
    return ratios


def sides(text: object) -> Sides:
    """``96`` or ``96x160``, height first."""
    parts = str(text).lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"--image-size wants pixels such as 96 or 96x160, not {text!r}")
    return Sides((int(parts[0]), int(parts[-1])))


def per_channel(given: object) -> PerChannel:
    """``0.5 0.5 0.5``, or with commas; a list where a file sets it."""
    parts = given if isinstance(given, list | tuple) else str(given).replace(",", " ").split()
    try:
        return PerChannel(map(float, parts))
    except (TypeError, ValueError):
        raise typer.BadParameter(f"{given!r} is not a number for each channel") from None


def milliseconds(limit: float | None) -> float | None:
    """A positive number of milliseconds."""
    if limit is not None and not 0 < limit < math.inf:
        raise typer.BadParameter(f"{limit:g} is not a positive number of milliseconds")
    return limit


def seconds(text: str) -> float:
    """``90s``, ``30m``, ``1h`` or ``1h30m``, in seconds."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", str(text).replace(" ", "").lower())
    total = 0
    if found:
        for part, unit in zip(found.groups(), (3600, 60, 1), strict=True):
            total += unit * int(part or 0)
    if not total:
        raise typer.BadParameter(f"{text!r} is no time; give such as 90s, 30m or 1h30m")
    return float(total)


def argument(text: str) -> Argument:
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


def shape(text: str) -> Shape:
    """``1x3x224x224`` or ``NAME=1x3x224x224``."""
    name, equals, sizes = text.rpartition("=")
    parts = sizes.lower().split("x")
    if (equals and not name) or not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"--shape wants sizes such as 1x3x224x224, not {text!r}")
    return Shape((name, tuple(int(part) for part in parts)))


def images(text: str) -> Count:
    """A number of images, or ``none``."""
    if text != "none" and not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a number of images nor none")
    return Count(0 if text == "none" else text)
