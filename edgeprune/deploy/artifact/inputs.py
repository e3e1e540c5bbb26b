"""Inputs of an ONNX model: what the file says of their axes, and the sizes they are run with."""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import InputError
from edgeprune.text import did_you_mean, one_line

Axes = list[int | str]  # a size, or a name where it is open
Shape = tuple[int, ...]


def inputs_of(proto: Any) -> list[Any]:
    """The graph's inputs; weights that it lists as inputs are none."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def axes_of(value: Any) -> Axes | None:
    """Axes of an input; None where the file does not even say how many there are.

    A size below 1 is open: some exporters write -1 or 0 for one that they do not know.
    """
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    return [d.dim_value if d.dim_value > 0 else one_line(d.dim_param) or "?" for d in dims]


def settle(proto: Any, pinned: Mapping[str, Shape], name: str) -> dict[str, Shape]:
    """The shape of every input: as the file says, as pinned, else a batch of 1.

    Args:
        proto: The model.
        pinned: Shapes by name of input; under ``""`` that of the only one that needs a pin.
        name: The file, for messages.

    Raises:
        InputError: no such input, one that is no tensor, an axis that stays open, or a pinned
            shape that contradicts the file.
    """
    inputs = inputs_of(proto)
    if not inputs:
        raise InputError(f"{name} has no input: there is nothing to run")
    known = [value.name for value in inputs]
    for asked in filter(None, pinned):
        if asked not in known:
            hint = did_you_mean(asked, known, otherwise=f"; it has {', '.join(known)}")
            raise InputError(one_line(f"{name} has no input {asked!r}{hint}"))
    bare = _bare(inputs, pinned)
    return {v.name: _shape(v, pinned.get("" if v is bare else v.name), name) for v in inputs}


def _bare(inputs: list[Any], pinned: Mapping[str, Shape]) -> Any:
    """The input that the pin without a name is for: the only one, or the only image."""
    if "" not in pinned:
        return None
    free = [value for value in inputs if value.name not in pinned]
    if len(free) > 1:
        rank = len(pinned[""])
        free = [v for v in free if (axes := axes_of(v)) is None or len(axes) == rank]
    if len(free) != 1:
        names = one_line(", ".join(value.name for value in inputs))
        raise InputError(
            f"input.shape does not say which of the inputs {names} it is for; pin "
            "input.NAME.shape, or --input NAME=1x3x224x224"
        )
    return free[0]


def _shape(value: Any, pinned: Shape | None, name: str) -> Shape:
    called = one_line(value.name)
    if not value.type.HasField("tensor_type"):
        raise InputError(f"{name} takes {called}, which is no tensor; only tensors can be fed")
    axes = axes_of(value)
    if pinned is not None:
        if axes is not None and not _fits(axes, pinned):
            raise InputError(f"{name} takes {axes} as {called}, {list(pinned)} is pinned")
        return pinned
    # Axis 0 is the batch; any other size that nobody says cannot be guessed.
    sizes = [1 if at == 0 and isinstance(a, str) else a for at, a in enumerate(axes or [])]
    if axes is None or any(isinstance(size, str) for size in sizes):
        said = "without saying its axes" if axes is None else f"open at {axes}"
        raise InputError(
            f"{name} leaves its input {called} {said}; set input.shape (of several inputs "
            f"input.NAME.shape) in the target, or --input {called}=1x3x224x224"
        )
    return tuple(int(size) for size in sizes)


def _fits(axes: Axes, shape: Shape) -> bool:
    return len(axes) == len(shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, shape, strict=True)
    )
