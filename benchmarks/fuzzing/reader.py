"""A reader under test, and how one is made that works in a folder of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader.

    Attributes:
        name: What the table calls it.
        weight: Share of the inputs.
        inputs: What it is given.
        read: Reads one of them; what it returns are further lines that somebody sees.
        folder: Where it works; nothing may be left there.
    """

    name: str
    weight: int
    inputs: SearchStrategy[Any]
    read: Callable[[Any], Sequence[str] | None]
    folder: Path


class Maker:
    """Makes readers that each work in a folder of their own."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def file(
        self,
        name: str,
        weight: int,
        inputs: SearchStrategy[bytes],
        read: Callable[[Path], Any],
        *,
        file: str = "input",
        beside: dict[str, bytes] | None = None,
    ) -> Reader:
        """A reader of one file, which is written before each reading."""
        folder = self.work / name.replace(" ", "-")
        folder.mkdir()
        path = folder / file
        for other, content in {file: b"", **(beside or {})}.items():
            (folder / other).write_bytes(content)

        def once(content: bytes) -> Any:
            path.write_bytes(content)
            return read(path)

        return Reader(name=name, weight=weight, inputs=inputs, read=once, folder=folder)

    def values(
        self, name: str, weight: int, inputs: SearchStrategy[Any], read: Callable[[Any], Any]
    ) -> Reader:
        """A reader of something in memory."""
        folder = self.work / name.replace(" ", "-")
        folder.mkdir()
        return Reader(name=name, weight=weight, inputs=inputs, read=read, folder=folder)
