"""Reading and writing of model.pt, the record of a model: a name, a plan and weights, no code."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeprune.errors import InputError
from edgeprune.files import refuse_existing, write_whole
from edgeprune.prune.models.reading import load

FORMAT = 1
"""Version of the layout of model.pt."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that rebuilds a model: a name and a plan, never code.

    Attributes:
        model: Name of the dense model, or ``package.module:factory``.
        kwargs: Plain arguments of its constructor.
        plan: Pruning plan as plain JSON, None for a dense model.
        state_dict: Weights of the slim (or dense) model, on the CPU.
        input_shape: Shape of one image, (C, H, W).
        mean: Per-channel mean that images are normalised with.
        std: Per-channel standard deviation.
        classes: Class names, in the order of the logits.
        history: Plain record of how the model came about.
        images: A few real images, uint8, shape (N, C, H, W); None where none are kept.
        format: Version of this layout.
    """

    model: str
    kwargs: Mapping[str, Any]
    plan: Mapping[str, Any] | None
    state_dict: Mapping[str, Tensor]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    history: Mapping[str, Any] = field(default_factory=dict)
    images: Tensor | None = None
    format: int = FORMAT


def write(path: Path, checkpoint: Checkpoint, *, overwrite: bool = False) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        path: The file.
        checkpoint: Content of the file; tensors may lie on any device.
        overwrite: Replace an existing file.

    Raises:
        InputError: the file exists, or ``history``, ``kwargs`` or ``plan`` hold objects that
            are not plain, which nothing could read back.
        MachineError: the disk refuses.
    """
    refuse_existing(path, overwrite=overwrite)
    content = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    content["state_dict"] = {name: _own(t) for name, t in checkpoint.state_dict.items()}
    if checkpoint.images is not None:
        content["images"] = _own(checkpoint.images)
    for name in ("kwargs", "plan", "history"):
        content[name] = _plain(content[name], name)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def read(path: Path) -> Checkpoint:
    """Read a model.pt that edgeprune wrote.

    Raises:
        InputError: missing, damaged, made of pickled code, another format, or not a model.pt.
    """
    content = load(path)
    if not isinstance(content, dict) or "format" not in content:
        raise InputError(
            f"{path} is no model.pt of edgeprune; other checkpoints take --model and --weights"
        )
    if content["format"] != FORMAT:
        raise InputError(
            f"{path} has format {content['format']!r}, this edgeprune reads {FORMAT}; "
            "install the version that wrote it"
        )
    known = {f.name for f in fields(Checkpoint)}
    missing = sorted(known - {"images"} - set(content))
    if missing:
        raise InputError(f"{path} lacks {missing[0]!r}; write it again with edgeprune")
    checkpoint = Checkpoint(**{name: content[name] for name in known & set(content)})
    _check_types(path, checkpoint)
    return checkpoint


def is_record(path: Path) -> bool:
    """Whether a file is a model.pt of edgeprune, of any format, and not bare weights.

    Raises:
        InputError: missing, damaged or made of pickled code.
    """
    content = load(path)
    return isinstance(content, dict) and "format" in content


def samples(checkpoint: Checkpoint) -> Tensor:
    """The real images that a checkpoint carries, uint8, shape (N, C, H, W).

    Raises:
        InputError: it carries none.
    """
    if checkpoint.images is None:
        raise InputError("the checkpoint carries no sample images; search again to make one")
    return checkpoint.images


def _own(tensor: Tensor) -> Tensor:
    """A copy on the CPU with a storage of its own, so that views do not drag theirs along."""
    return tensor.detach().cpu().clone()


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, where) for item in value)
    raise InputError(f"{where} holds a {type(value).__name__}; a checkpoint takes plain values")


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _check_types(path: Path, checkpoint: Checkpoint) -> None:
    shape = checkpoint.input_shape
    right_shape = (
        isinstance(shape, (tuple, list))
        and len(shape) == 3
        and all(isinstance(n, int) and n > 0 for n in shape)
    )
    channels = shape[0] if right_shape else 0
    right = {
        "model": isinstance(checkpoint.model, str),
        "kwargs": isinstance(checkpoint.kwargs, Mapping),
        "plan": checkpoint.plan is None or isinstance(checkpoint.plan, Mapping),
        "state_dict": _is_state_dict(checkpoint.state_dict),
        "input_shape": right_shape,
        "mean": _are((int, float), checkpoint.mean) and len(checkpoint.mean) == channels,
        "std": _are((int, float), checkpoint.std) and len(checkpoint.std) == channels,
        "classes": _are(str, checkpoint.classes),
        "history": isinstance(checkpoint.history, Mapping),
        "images": checkpoint.images is None
        or (isinstance(checkpoint.images, Tensor) and checkpoint.images.dtype == torch.uint8),
    }
    for name, ok in right.items():
        if not ok:
            raise InputError(f"{path}: {name!r} is not what it should be; write the file again")


def _are(kind: type | tuple[type, ...], values: Any) -> bool:
    """Whether this is a tuple or list of such values."""
    return isinstance(values, (tuple, list)) and all(isinstance(v, kind) for v in values)
