"""Reads an ONNX file once, with the weights that it keeps in other files, as what is then run."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import EncodeError, Message  # type: ignore[import-untyped]

from edgeprune.deploy.artifact.seal import parsed
from edgeprune.errors import InputError
from edgeprune.files import contents
from edgeprune.text import one_line

MOST_BYTES = (1 << 31) - 1  # of one protobuf message, and so of a model that is sent and run


@dataclass(frozen=True)
class ModelFile:
    """One ONNX file, read once.

    Attributes:
        content: Bytes of the file.
        beside: Bytes of the other files that hold its weights, by their names in it.
        proto: The ``onnx.ModelProto`` parsed from them, with all weights inside.
        whole: The bytes that are run: ``content``, or ``proto`` where weights lie beside.
    """

    content: bytes = field(repr=False)
    beside: Mapping[str, bytes] = field(repr=False)
    proto: Any = field(repr=False)
    whole: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """Hash of the file, followed by those beside it in the order of their names; in hex."""
        found = hashlib.sha256(self.content)
        for _, content in sorted(self.beside.items()):
            found.update(content)
        return found.hexdigest()

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return len(self.content) + sum(map(len, self.beside.values()))


def read_model(path: Path, content: bytes | None = None) -> ModelFile:
    """Read a file and what lies beside it.

    Args:
        path: The ONNX file.
        content: Its bytes, where the caller has read them.

    Raises:
        InputError: it is no ONNX file, or a second file is missing, too short, outside its
            folder, or too much for one model.
    """
    content = contents(path) if content is None else content
    proto = parsed(path, content)
    tensors = [tensor for tensor in _tensors(proto) if tensor.data_location == tensor.EXTERNAL]
    if not tensors:
        return ModelFile(content, {}, proto, content)
    beside: dict[str, bytes] = {}
    for tensor in tensors:
        _take_in(path, tensor, beside, MOST_BYTES - len(content))
    try:
        whole = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError):
        raise InputError(_too_large(path)) from None
    return ModelFile(content, beside, proto, whole)


def _take_in(path: Path, tensor: Any, beside: dict[str, bytes], most: int) -> None:
    """Put a tensor's data where a file of its own kept it."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    name = told.get("location", "")
    if name not in beside:
        beside[name] = contents(_inside(path, name), max(0, most))
        if sum(map(len, beside.values())) > most:
            raise InputError(_too_large(path))
    try:
        start, length = (int(told.get(key, 0)) for key in ("offset", "length"))
    except ValueError:
        start = length = -1
    end = start + length if "length" in told else len(beside[name])
    if not 0 <= start <= end <= len(beside[name]):
        raise InputError(f"{path} keeps weights in {one_line(name)}, which does not hold them all")
    tensor.raw_data = beside[name][start:end]
    tensor.ClearField("external_data")
    tensor.data_location = tensor.DEFAULT


def _inside(path: Path, name: str) -> Path:
    """The second file, which lies in the folder of the first: nothing else is read."""
    folder = path.parent.resolve()
    try:
        found = (folder / name).resolve()
    except (OSError, ValueError):
        found = folder
    if not found.is_relative_to(folder) or found == folder:
        raise InputError(f"{path} keeps weights in {one_line(name)!r}, outside its folder")
    return found


def _too_large(path: Path) -> str:
    return f"{path} and its weights have more than 2 GB, the most that is sent to a device"


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of a model: in graphs, subgraphs, functions and attributes."""
    for described, value in message.ListFields():
        if described.message_type is None:
            continue
        for each in [value] if isinstance(value, Message) else value:
            if described.message_type.name == "TensorProto":
                yield each
            else:
                yield from _tensors(each)
