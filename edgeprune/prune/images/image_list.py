"""Lists of images: a CSV or TSV file of paths, classes and perhaps parts."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.documents import read_text
from edgeprune.errors import InputError
from edgeprune.prune.images.splits import VALIDATION, Listing, Splits, drawn, settled
from edgeprune.text import one_line

MOST_BYTES = 1 << 30  # of a list: ten million images
SUFFIXES = (".csv", ".tsv", ".txt")
COLUMNS = {
    "path": ("path", "file", "filename", "image", "filepath", "image_path"),
    "class": ("class", "label", "target", "category", "class_name"),
    "split": ("split", "part", "set", "subset"),
}
PARTS = {"train": "train", "training": "train", **dict.fromkeys(VALIDATION, "val"), "test": "test"}


@dataclass(frozen=True)
class Row:
    """One image of a list: its line, file, class, and part where there is one."""

    line: int
    path: Path
    of_class: str
    part: str


def list_splits(source: Path) -> Splits:
    """Read a list: paths and classes, and the part (train, val, test) where a column names it.

    The columns are found by their names in the first line; without names they come in this
    order. Paths are relative to the list. Classes that are all whole numbers are in their order,
    others by name. Without parts the images are split by seed. A list that names all three parts
    may lack classes in each: nobody leaves a class out of a list of files unawares.

    Raises:
        InputError: a line that cannot be read, a file that is not there or listed twice, or parts
            that :func:`splits.settled` refuses.
    """
    rows = list(_rows(source))
    if not rows:
        raise InputError(f"{source} lists no images; expected lines of path,class[,split]")
    seen: dict[Path, Row] = {}
    for row in rows:
        if (first := seen.setdefault(row.path, row)) is not row:
            where = f"lines {first.line} and {row.line}"
            raise InputError(f"{source} lists {row.path.name} twice ({where}); keep one")
        if not row.path.is_file():
            raise InputError(f"{source}, line {row.line}: there is no file {row.path}")
    names = {row.of_class for row in rows}
    numbered = all(name.isdecimal() for name in names)
    classes = tuple(sorted(names, key=int if numbered else str))
    parts = {row.part for row in rows}
    if parts == {""}:
        return drawn(source, classes, _listing(rows, classes))
    if "" in parts:
        line = next(row.line for row in rows if not row.part)
        raise InputError(f"{source}, line {line} names no split, others do")
    if "train" not in parts or len(parts) == 1:
        raise InputError(f"{source} needs images in train, and in test or val")
    given = {p: _listing([row for row in rows if row.part == p], classes) for p in sorted(parts)}
    return settled(source, classes, given, may_lack_classes=True)


def as_text(found: Splits) -> str:
    """The list of the parts, as :func:`list_splits` reads it, with absolute paths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for part, listing in found.parts.items():
        for path, label in zip(listing.paths, listing.labels, strict=True):
            of_class = found.classes[label] if found.classes else ""
            writer.writerow([path.absolute(), of_class, part])
    return text.getvalue()


def _listing(rows: Sequence[Row], classes: tuple[str, ...]) -> Listing:
    index = {name: label for label, name in enumerate(classes)}
    order = sorted(rows, key=lambda row: (index[row.of_class], row.path))
    labels = np.array([index[row.of_class] for row in order], np.int64)
    return Listing(tuple(row.path for row in order), labels)


def _rows(source: Path) -> Iterator[Row]:
    text = read_text(source, source.suffix[1:].upper(), MOST_BYTES)
    first = text.partition("\n")[0]
    delimiter = max("\t,;", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    places: dict[str, int] | None = None
    try:
        for cells in lines:
            if not any(cells):
                continue
            if places is None:
                places, named = _places(source, [cell.strip().lower() for cell in cells])
                if named:
                    continue
            yield _row(source, lines.line_num, cells, places)
    except csv.Error as error:
        raise InputError(f"{source}, line {lines.line_num}: {one_line(error)}") from None


def _places(source: Path, cells: list[str]) -> tuple[dict[str, int], bool]:
    """Which column is what, and whether the first line says so."""
    found = {
        kind: cells.index(name)
        for kind, names in COLUMNS.items()
        for name in names
        if name in cells
    }
    if not found:
        return {kind: place for place, kind in enumerate(COLUMNS) if place < len(cells)}, False
    if missing := {"path", "class"} - set(found):
        names = " or ".join(COLUMNS[min(missing)])
        raise InputError(f"{source} has no column {names}; its first line names the columns")
    return found, True


def _row(source: Path, line: int, cells: list[str], places: dict[str, int]) -> Row:
    if "class" not in places or len(cells) <= max(places.values()):
        raise InputError(f"{source}, line {line}: expected path,class[,split]")
    path, of_class = (cells[places[kind]].strip() for kind in ("path", "class"))
    part = cells[places["split"]].strip().lower() if "split" in places else ""
    if not path or not of_class:
        raise InputError(f"{source}, line {line}: a path or a class is empty")
    if part not in PARTS and part:
        raise InputError(
            f"{source}, line {line}: split {one_line(part)!r} is none of train, val and test"
        )
    return Row(line, source.parent / path, of_class, PARTS.get(part, ""))
