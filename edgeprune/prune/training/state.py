"""State files of interrupted trainings: written whole, read without running code, checked."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.files import contents, write_whole
from edgeprune.prune.training.optimizer import trained_by_adamw
from edgeprune.prune.training.recipe import Recipe

FORMAT = 1
"""Version of the layout of a state file."""


@dataclass(frozen=True)
class Keep:
    """Where the state of a training is kept, and which training it is.

    Attributes:
        path: The state file. Where it exists the training goes on from it.
        task: Identity of the training as plain values: hash of the model file, images, ...
            The recipe is added to it.
        every: Steps between two writes; every pass over the images without one.
        pauses: Whether the training ends for now once a state is written.
    """

    path: Path
    task: Mapping[str, Any] = field(default_factory=dict)
    every: int | None = None
    pauses: bool = False

    def training(self, model: nn.Module, recipe: Recipe, count: int) -> dict[str, Any]:
        """The task with its recipe on so many images: what a state file is looked up by."""
        task = {**self.task, **asdict(recipe), "training images": count}
        # States of SGD never named theirs.
        return task | ({"optimizer": "AdamW"} if trained_by_adamw(model) else {})


@dataclass(frozen=True, kw_only=True)
class State:
    """All that the rest of a training follows from, besides its task.

    Attributes:
        losses: Training loss of every step so far.
        seconds: Time they took.
        model: Weights and statistics.
        average: The average of the weights, where one is kept.
        optimizer: The optimiser's momenta.
    """

    losses: Sequence[float]
    seconds: float
    model: Mapping[str, Tensor]
    average: Mapping[str, Tensor] | None
    optimizer: dict[str, Any]


def write(path: Path, task: Mapping[str, Any], state: State) -> None:
    """Write a state whole or not at all, in place of the one before.

    Raises:
        MachineError: The disk refuses.
    """
    values = {f.name: getattr(state, f.name) for f in fields(State)}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "task": dict(task), **values}, buffer)
    write_whole(path, buffer.getvalue())


def read(path: Path, task: Mapping[str, Any]) -> State | None:
    """Read the state of a task without running code from it; None where none was written.

    Raises:
        InputError: The file is damaged, or was left by a training of something else.
    """
    content = _content(path)
    if content is None:
        return None
    names = [f.name for f in fields(State)]
    if not isinstance(content, dict) or not {"format", "task", *names} <= set(content):
        raise unusable(path)
    if content["format"] != FORMAT or not isinstance(content["task"], dict):
        raise unusable(path)
    _refuse_other(path, content["task"], task)
    return State(**{name: content[name] for name in names})


def unusable(path: Path) -> InputError:
    """What is said of a file that no training can go on from."""
    return InputError(
        f"{path} is no state of a training, or a damaged one; pass --overwrite instead of "
        "--resume to start over"
    )


def _content(path: Path) -> Any:
    if not path.exists():
        return None
    written = io.BytesIO(contents(path))
    try:
        return torch.load(written, map_location="cpu", weights_only=True)
    except Exception:
        # A damaged archive surfaces as RuntimeError, EOFError, KeyError or UnpicklingError.
        raise unusable(path) from None


def _refuse_other(path: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in (*wanted, *(name for name in kept if name not in wanted)):
        if kept.get(name) != wanted.get(name):
            raise InputError(
                f"{path} was left by another training: {name} was {_short(kept.get(name))}, "
                f"now it is {_short(wanted.get(name))}; repeat that command, or pass "
                "--overwrite instead of --resume to start over"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."
