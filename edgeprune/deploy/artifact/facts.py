"""Facts of an ONNX file: hash, size, input shape, MACs, parameters and its own record."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edgeprune.deploy.artifact.counting.count import Count, count_macs, count_params
from edgeprune.deploy.artifact.counting.observation import observed
from edgeprune.deploy.artifact.provenance import PREFIX
from edgeprune.deploy.artifact.seal import entries_of, load
from edgeprune.errors import InputError
from edgeprune.files import contents
from edgeprune.text import one_line


@dataclass(frozen=True)
class Facts:
    """One ONNX file with a single input, read once.

    Attributes:
        path: Path of the file.
        content: Bytes of the file.
        input_shape: (N, C, H, W) or as many axes as the model has, all sizes known.
        proto: The ``onnx.ModelProto`` parsed from ``content``.
    """

    path: Path
    content: bytes = field(repr=False)
    input_shape: tuple[int, ...]
    proto: Any

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    @cached_property
    def recorded(self) -> dict[str, str]:
        """The ``edgeprune.*`` entries of the file, without the prefix."""
        return {k.removeprefix(PREFIX): v for k, v in entries_of(self.proto).items()}

    def number(self, key: str) -> float | None:
        """A recorded number, or None where there is none that can be read."""
        try:
            return float(self.recorded[key])
        except (KeyError, ValueError):
            return None

    @cached_property
    def macs(self) -> Count:
        """Multiply-accumulates of one run, counted from the graph."""
        shapes = {fed_inputs(self.proto)[0].name: self.input_shape}
        return count_macs(self.proto, shapes, partial(observed, self.proto, shapes))

    @cached_property
    def params(self) -> Count:
        """Weights and biases, counted from the graph."""
        return count_params(self.proto)


def read(path: Path, pinned: tuple[int, ...] | None = None, content: bytes | None = None) -> Facts:
    """Read a file once and settle the shape of its input.

    Args:
        path: The ONNX file.
        pinned: The shape that the target gives, for axes that the file leaves open. A first
            axis (the batch) that nobody pins is 1.
        content: The bytes of the file, where the caller has read them.

    Raises:
        InputError: not an ONNX file, truncated, several inputs, an open axis without a size, or
            a pinned shape that does not fit.
    """
    content = contents(path) if content is None else content
    proto = load(path, content)
    return Facts(path, content, resolve(_only_input(proto, path), pinned, path.name), proto)


def resolve(axes: list[int | str], pinned: tuple[int, ...] | None, name: str) -> tuple[int, ...]:
    """Sizes for every axis: those of the file, then the pinned ones, then batch 1.

    Raises:
        InputError: an axis stays open, or the pinned shape contradicts the file.
    """
    if pinned and (
        len(pinned) != len(axes)
        or any(isinstance(a, int) and a != p for a, p in zip(axes, pinned, strict=True))
    ):
        raise InputError(f"{name} takes {axes}, the target pins input.shape = {list(pinned)}")
    if pinned:
        return pinned
    # Axis 0 is the batch; any other size that nobody says cannot be guessed.
    sizes = [1 if at == 0 and isinstance(a, str) else a for at, a in enumerate(axes)]
    if any(isinstance(size, str) for size in sizes):
        raise InputError(f"{name} leaves its input open at {axes}; set input.shape in the target")
    return tuple(int(size) for size in sizes)


def fed_inputs(proto: Any) -> list[Any]:
    """Inputs of a graph that no weight of the file fills."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _only_input(proto: Any, path: Path) -> list[int | str]:
    inputs = fed_inputs(proto)
    if len(inputs) != 1:
        names = one_line(", ".join(value.name for value in inputs)) or "none"
        raise InputError(f"{path} has {len(inputs)} inputs ({names}); edgeprune takes one image")
    axes = inputs[0].type.tensor_type.shape.dim  # each with a size, a name or neither
    return [axis.dim_value or one_line(axis.dim_param) or "?" for axis in axes]
