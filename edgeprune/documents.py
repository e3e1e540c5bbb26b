"""Reads JSON and TOML files of ours: bounded, strict, and one line for whatever is wrong."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgeprune.errors import InputError
from edgeprune.files import contents
from edgeprune.text import first_problem, one_line

MOST_BYTES = 64 << 20  # the largest latency table has some hundred kilobytes
DEEPEST = 64  # ours nest six deep; Python's own parsers give up near a thousand
LARGEST = 1 << 63  # more than any count of nanoseconds or bytes
T = TypeVar("T")


def read_json(path: Path, *, finite: bool = True) -> Any:
    """Read a JSON file.

    Args:
        path: A regular file of at most 64 MiB, UTF-8 with or without a byte-order mark.
        finite: Refuse NaN and infinities, which JSON does not have.

    Raises:
        InputError: it cannot be read or is damaged; the line names the file.
    """
    return parse_json(read_text(path, "JSON"), str(path), finite=finite)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; as :func:`read_json`."""
    try:
        tables = tomllib.loads(read_text(path, "TOML"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a TOML file: {_reason(error)}") from None
    _check(tables, str(path), finite=True)
    return tables


def parse_json(text: str | bytes, where: str, *, finite: bool = True) -> Any:
    """Parse JSON text that comes from ``where``: no key twice, at most 64 deep.

    Raises:
        InputError: it is damaged; the line names ``where``.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {_reason(error)}") from None
    _check(content, where, finite=finite)
    return content


def typed(kind: type[T], content: Any, where: str) -> T:
    """Plain content as what it should be, such as ``list[Limits]``; numbers may be texts.

    Raises:
        InputError: it is something else; the line names ``where`` and the first problem.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        said = ": ".join(part for part in first_problem(error) if part)
        raise InputError(f"{where} is damaged: {one_line(said)}") from None


def read_text(path: Path, kind: str, most: int | None = None) -> str:
    """A file in UTF-8 of at most ``most`` bytes (64 MiB); ``kind`` is for messages.

    Raises:
        InputError: it cannot be read, is larger, or is no text.
    """
    try:
        return contents(path, most or MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a {kind} file: {error}; save it as UTF-8") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"key {twice!r} comes twice")
    return found


def _check(content: Any, where: str, *, finite: bool, key: str = "", depth: int = 0) -> None:
    if depth > DEEPEST:
        raise InputError(f"{where}: nested more than {DEEPEST} deep")
    inside: dict[str, Any] = {}
    if isinstance(content, dict):
        inside = content
    if isinstance(content, list):
        inside = {str(place): each for place, each in enumerate(content)}
    for name, each in inside.items():
        dotted = f"{key}.{name}" if key else name
        _check(each, where, finite=finite, key=dotted, depth=depth + 1)
    wrong = ""
    if isinstance(content, int) and abs(content) >= LARGEST:
        wrong = "a whole number of more than 64 bits"
    if isinstance(content, float) and finite and not math.isfinite(content):
        wrong = f"{content} is not a finite number"
    if wrong:
        raise InputError(f"{where}: {one_line(key)}: {wrong}")


def _reason(error: BaseException) -> str:
    deep = isinstance(error, RecursionError)
    return f"nested more than {DEEPEST} deep" if deep else one_line(error)
