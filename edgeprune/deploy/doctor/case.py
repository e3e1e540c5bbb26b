"""The case: a file as it was seen, its layers in milliseconds, and what edits are asked of."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.deploy.doctor.layers import Layer
from edgeprune.deploy.doctor.look import Look
from edgeprune.deploy.doctor.off_grid import Graphs
from edgeprune.target import Runtime

WORTH = 0.03  # of a run: less is not worth a finding that nothing can be tried for
NAMED = 5  # layers that one line names


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the causes look at.

    Attributes:
        seen: The file, its optimised graph and profile.
        layers: Its layers, in milliseconds.
        ms: A run.
        runtime: How it is opened.
        graphs: Optimised graphs of edited files, on the device.
        target: Name of the target profile, for commands.
    """

    seen: Look
    layers: tuple[Layer, ...]
    ms: float
    runtime: Runtime
    graphs: Graphs
    target: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.seen.file.path

    @property
    def shown(self) -> str:
        """The file as a word of a command."""
        return shlex.quote(str(self.path))

    @property
    def proto(self) -> Any:
        """The file's content."""
        return self.seen.file.proto


def names_of(layers: Sequence[Layer]) -> str:
    """The first few layers by name, and how many more there are."""
    rest = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
    return ", ".join(layer.name for layer in layers[:NAMED]) + rest
