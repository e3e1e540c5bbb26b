"""Shapes of a model's inputs: as the file says, as asked, else a usual size, which is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeprune.deploy.artifact.facts import fed_inputs
from edgeprune.errors import InputError
from edgeprune.text import did_you_mean, one_line

Shape = tuple[int, ...]
SIDE = 224  # pixels of an image whose height or width is open
LENGTH = 16  # of any other axis that is open


@dataclass(frozen=True)
class Inputs:
    """What a model is run on.

    Attributes:
        shapes: Shape of every input, by name.
        chosen: Inputs with sizes that neither the file nor anybody says, described.
    """

    shapes: Mapping[str, Shape]
    chosen: tuple[str, ...]


def settle(proto: Any, asked: Mapping[str, Shape]) -> Inputs:
    """The shape of every input.

    Args:
        proto: The model.
        asked: Shapes by name of input; under ``""`` that of the only input, or of the first.

    Raises:
        InputError: no such input, a shape that contradicts the file, or an input that is no
            tensor.
    """
    inputs = fed_inputs(proto)
    if not inputs:
        raise InputError("the model has no input: there is nothing to run")
    named = {name or inputs[0].name: shape for name, shape in asked.items()}
    known = [value.name for value in inputs]
    for name in named:
        if name not in known:
            hint = did_you_mean(name, known, otherwise=f"; there is {', '.join(known)}")
            raise InputError(one_line(f"--shape: the model has no input {name!r}{hint}"))
    shapes, chosen = dict[str, Shape](), list[str]()
    for value in inputs:
        if not value.type.HasField("tensor_type"):
            raise InputError(one_line(f"input {value.name} is no tensor; doctor feeds tensors"))
        # Some exporters write -1 for a size that is open.
        axes = [
            axis.dim_value if axis.dim_value > 0 else axis.dim_param or "?"
            for axis in value.type.tensor_type.shape.dim
        ]
        shapes[value.name] = found = _sizes(value.name, axes, named.get(value.name))
        if value.name not in named and any(isinstance(axis, str) for axis in axes[1:]):
            size = "x".join(map(str, found))
            chosen.append(one_line(f"{value.name} is open at {axes}: measured at {size}"))
    return Inputs(shapes, tuple(chosen))


def _sizes(name: str, axes: list[int | str], asked: Shape | None) -> Shape:
    if asked is None:
        image = len(axes) == 4 and (axes[1] in (1, 3, 4) or isinstance(axes[1], str))
        usual = [1, 3, SIDE, SIDE] if image else [1, *[LENGTH] * len(axes)]
        sizes = zip(axes, usual, strict=False)
        return tuple(axis if isinstance(axis, int) else size for axis, size in sizes)
    fits = len(asked) == len(axes) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, asked, strict=True)
    )
    if not fits:
        wanted = "x".join(map(str, asked))
        raise InputError(one_line(f"--shape {wanted}: input {name} takes {axes}"))
    return asked
