"""The seal of an exported ONNX file: hashes of graph, weights and provenance.

The seal is a checksum against damage and later edits, no signature: who edits the file can
seal it again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError, Message  # type: ignore[import-untyped]

from edgeprune.deploy.artifact.provenance import PREFIX, Provenance, compact, parse
from edgeprune.errors import EdgepruneError, InputError, MachineError, PromiseError
from edgeprune.files import contents, refuse_existing, write_whole

SEAL = PREFIX + "seal"
MEASURED = PREFIX + "measured."  # of entries added after the export, which no seal covers


def seal(proto: onnx.ModelProto, provenance: Provenance) -> onnx.ModelProto:
    """A copy that carries the provenance and its seal, and no local path.

    Entries of an earlier provenance are replaced, measurements are dropped: they belong to
    the file that was measured.
    """
    sealed = strip_paths(proto)
    del sealed.metadata_props[:]
    _add(sealed, provenance.entries())
    hashes = _hashes(sealed)
    _add(sealed, {SEAL: _total(hashes), **{f"{SEAL}.{part}": h for part, h in hashes.items()}})
    return sealed


def write(
    path: Path, proto: onnx.ModelProto, provenance: Provenance, *, overwrite: bool = False
) -> str:
    """Seal a model and write it as one file, whole or not at all.

    Returns:
        The sha256 of the file.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is not set.
        MachineError: the disk refuses; nothing half-written is left.
    """
    refuse_existing(path, overwrite=overwrite)  # before the work, and again as it is written
    try:
        content: bytes = seal(proto, provenance).SerializeToString(deterministic=True)
    except EncodeError:
        raise MachineError(f"cannot write {path}: the model passes the 2 GB of one file") from None
    write_whole(path, content, overwrite=overwrite)
    return hashlib.sha256(content).hexdigest()


def read(path: Path, proto: onnx.ModelProto | None = None) -> Provenance | None:
    """What a file, or ``proto`` read from it, says about itself.

    ``None`` where edgeprune did not export it.

    Raises:
        InputError: not an ONNX file, or one of a newer edgeprune.
        PromiseError: an entry is unreadable.
    """
    return _parse(path, entries_of(load(path) if proto is None else proto))


def verify(path: Path, proto: onnx.ModelProto | None = None) -> Provenance:
    """Check the seal of a file, or of ``proto``, which was read from it.

    Returns:
        The provenance, which is then what was sealed.

    Raises:
        InputError: not an ONNX file, or one that was never sealed.
        PromiseError: the seal is broken; the message says in which part.
    """
    proto = load(path) if proto is None else proto
    recorded = entries_of(proto)
    if any(map(_is_covered, recorded)) and SEAL not in recorded:
        raise PromiseError(f"seal broken: the seal of {path} was removed")
    if SEAL not in recorded:
        raise InputError(f"{path} carries no seal; `edgeprune export` writes sealed files")
    found = _hashes(proto)
    broken = [part for part, h in found.items() if recorded.get(f"{SEAL}.{part}") != h]
    if broken or recorded[SEAL] != _total(found):
        where = " and ".join(broken) or "the seal itself"
        raise PromiseError(f"seal broken: {where} of {path} changed since the export")
    provenance = _parse(path, recorded)
    if provenance is None:
        raise PromiseError(f"seal broken: {path} carries a seal but no provenance")
    return provenance


def load(path: Path, content: bytes | None = None) -> onnx.ModelProto:
    """Parse an ONNX file whose weights lie inside it, or ``content``, which was read from it.

    Raises:
        InputError: missing, not ONNX, truncated, or with weights in a second file.
    """
    proto = parsed(path, contents(path) if content is None else content)
    if any(w.data_location == onnx.TensorProto.EXTERNAL for w in proto.graph.initializer):
        raise InputError(f"{path} keeps weights in a second file; save it as one file")
    return proto


def parsed(path: Path, content: bytes) -> onnx.ModelProto:
    """Parse the bytes of an ONNX file, whose weights may lie in other files.

    Raises:
        InputError: not ONNX, truncated, or larger than an ONNX file can be.
    """
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError:
        if len(content) >= 1 << 31:
            raise InputError(
                f"{path} has more than 2 GB, which an ONNX file cannot; keep its weights beside it"
            ) from None
        raise InputError(f"{path} is not an ONNX file, or a truncated one") from None
    if not proto.graph.node:
        raise InputError(f"{path} is not an ONNX file: it holds no operators")
    if not all(map(_is_text, (proto.graph, *proto.functions))):
        raise InputError(f"{path} is a damaged ONNX file: a name in it is no text")
    return proto


def _is_text(message: Any) -> bool:
    """Whether every name in a graph and below is UTF-8, which the parser does not ask for."""
    try:
        return all(map(_is_name, message.ListFields()))
    except UnicodeDecodeError:
        return False


def _is_name(found: tuple[Any, Any]) -> bool:
    field, value = found
    many: Any = value if not isinstance(value, Message | str | bytes | int | float) else [value]
    if field.type == field.TYPE_STRING:
        return all(isinstance(each, str) for each in many)
    if field.message_type is None:
        return True
    if field.message_type.name == "TensorProto":  # whose other fields are data, perhaps much
        return all(isinstance(each.name, str) for each in many)
    return all(map(_is_text, many))


def strip_paths(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the exporter's notes, which name source files of the machine it ran on.

    Documentation strings and the metadata of graphs, nodes, values and tensors go;
    ``edgeprune.*`` entries of the model stay.
    """
    stripped = onnx.ModelProto()
    stripped.CopyFrom(proto)
    _strip(stripped)
    _add(stripped, entries_of(proto))
    return stripped


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hex.

    Raises:
        InputError: it cannot be read.
    """
    return hashlib.sha256(contents(path)).hexdigest()


def _strip(message: Any) -> None:
    """Clear notes in a message and in every message below it, subgraphs included."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            children = [value] if isinstance(value, Message) else value  # repeated or not
            for child in children:
                _strip(child)


def _parse(path: Path, recorded: Mapping[str, str]) -> Provenance | None:
    covered = {k: v for k, v in recorded.items() if _is_covered(k)}
    try:
        return parse(covered) if covered else None
    except EdgepruneError as error:
        raise type(error)(f"{path}: {error}") from None


def _is_covered(key: str) -> bool:
    own = key == SEAL or key.startswith((f"{SEAL}.", MEASURED))
    return key.startswith(PREFIX) and not own


def entries_of(proto: onnx.ModelProto) -> dict[str, str]:
    """The ``edgeprune.*`` entries of a model, prefix included."""
    return {e.key: e.value for e in proto.metadata_props if e.key.startswith(PREFIX)}


def _add(proto: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=value)


def _hashes(proto: onnx.ModelProto) -> dict[str, str]:
    """Hash of each part that the seal covers, in the order of its message."""
    # The frame is the model without weights and entries: the graph, opsets, IR version, producer.
    frame = onnx.ModelProto()
    frame.CopyFrom(proto)
    del frame.metadata_props[:], frame.graph.initializer[:]
    covered = sorted((k, v) for k, v in entries_of(proto).items() if _is_covered(k))
    return {
        "graph": _hash([frame.SerializeToString(deterministic=True)]),
        "weights": _hash(w.SerializeToString(deterministic=True) for w in proto.graph.initializer),
        "provenance": _hash([compact(covered).encode()]),
    }


def _hash(pieces: Iterable[bytes]) -> str:
    """Hash of each piece's hash, so that no two lists of pieces run into one another."""
    outer = hashlib.sha256()
    for piece in pieces:
        outer.update(hashlib.sha256(piece).digest())
    return outer.hexdigest()


def _total(hashes: Mapping[str, str]) -> str:
    return _hash(f"{part}={h}".encode() for part, h in hashes.items())
