"""Facts of an ONNX file: hash, size, inputs, MACs, parameters and its own record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edgeprune.deploy.artifact.counting.count import Count, count_macs, count_params
from edgeprune.deploy.artifact.counting.observation import observed
from edgeprune.deploy.artifact.inputs import Shape, inputs_of, settle
from edgeprune.deploy.artifact.model_file import ModelFile, read_model
from edgeprune.deploy.artifact.provenance import PREFIX
from edgeprune.deploy.artifact.seal import entries_of
from edgeprune.deploy.devices.job import Loaded
from edgeprune.errors import InputError
from edgeprune.target import Inputs
from edgeprune.text import one_line


@dataclass(frozen=True)
class Facts:
    """One ONNX file, read once: what is hashed is what is parsed is what is run.

    Attributes:
        path: Path of the file, for messages; it is not read again.
        file: What was read.
        inputs: Shape of every input by name, all sizes known.
        values: What all elements of an input are, where that is said.
    """

    path: Path
    file: ModelFile
    inputs: Mapping[str, Shape]
    values: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        return self.file.sha256

    @property
    def file_bytes(self) -> int:
        """Size of the file, with the files beside it that hold its weights."""
        return self.file.bytes

    @property
    def proto(self) -> Any:
        """The ``onnx.ModelProto`` parsed from the file."""
        return self.file.proto

    @property
    def model(self) -> Loaded:
        """What devices run."""
        return Loaded(self.path.name, self.file.whole)

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
        run = partial(observed, self.proto, self.inputs, values=self.values)
        return count_macs(self.proto, self.inputs, run)

    @cached_property
    def params(self) -> Count:
        """Weights and biases, counted from the graph."""
        return count_params(self.proto)


def read(path: Path, pinned: Inputs | None = None, content: bytes | None = None) -> Facts:
    """Read a file once and settle the shapes of its inputs.

    Args:
        path: The ONNX file.
        pinned: What the target says of its inputs.
        content: The bytes of the file, where the caller has read them.

    Raises:
        InputError: not an ONNX file, truncated, weights beside it that cannot be read, an open
            axis without a size, or a pinned input that is not there or does not fit.
    """
    file = read_model(path, content)
    pinned = pinned or Inputs()
    for name in pinned.values:
        if all(name != value.name for value in inputs_of(file.proto)):
            raise InputError(f"{path.name} has no input {one_line(name)!r}, whose value is given")
    return Facts(path, file, settle(file.proto, pinned.shapes, path.name), pinned.values)
