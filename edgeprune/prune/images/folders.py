"""Image folders: files and classes of ``train/CLASS/*`` or of class folders; plain pictures."""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np

from edgeprune.errors import InputError
from edgeprune.prune.images.splits import VALIDATION, Listing, Splits, drawn, pictures, settled

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = (
    "expected train/CLASS/*.jpg with test/CLASS/*.jpg or val/CLASS/*.jpg, or CLASS/*.jpg alone"
)


def list_splits(root: Path) -> Splits:
    """List the images below a folder.

    Args:
        root: A folder with ``train/CLASS/*`` and ``test/CLASS/*``, ``val/CLASS/*`` or both; or
            with ``CLASS/*``, which is split by seed.

    Raises:
        InputError: A folder is missing or empty, there is one class only, or two parts have
            different classes.
    """
    if not (root / "train").is_dir():
        parts = [name for name in ("test", *VALIDATION) if (root / name).is_dir()]
        if parts:
            raise InputError(f"{root} has {parts[0]}/ and no train/ folder; {_LAYOUT}")
        classes, whole = _listed(root)
        return drawn(root, classes, whole)
    classes, train = _listed(root / "train")
    given = {"train": train}
    for part, names in (("val", VALIDATION), ("test", ("test",))):
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder:
            found, given[part] = _listed(folder)
            _require_equal_classes(root, classes, folder.name, found)
    if len(given) == 1:
        raise InputError(f"{root} has no test/ and no val/ folder; {_LAYOUT}")
    return settled(root, classes, given)


def list_pictures(root: Path) -> Splits:
    """List all pictures below a folder, whatever folders they lie in; no class is known.

    Args:
        root: A folder with ``train/`` and ``test/``, ``val/`` or both; or any other, which is
            split by seed.

    Raises:
        InputError: there are none, or too few to split.
    """
    if not (root / "train").is_dir():
        return pictures(root, {"": _below(root)})
    given = {"train": _below(root / "train")}
    for part, names in (("val", VALIDATION), ("test", ("test",))):
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder:
            given[part] = _below(folder)
    if len(given) == 1:
        raise InputError(f"{root} has train/ and no test/ or val/ folder; add one, or name train/")
    return pictures(root, given)


def _below(folder: Path) -> tuple[Path, ...]:
    """Pictures below a folder, by path; hidden files and folders are left out."""
    found: list[Path] = []
    for where, inside, files in os.walk(folder, onerror=_refuse_listing):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        found += [
            Path(where, name)
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    if not found:
        raise InputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return tuple(found)


def _refuse_listing(error: OSError) -> NoReturn:
    raise InputError(f"cannot list {error.filename}: {error.strerror}") from error


def _listed(folder: Path) -> tuple[tuple[str, ...], Listing]:
    try:
        children = sorted(folder.iterdir())
        class_folders = [c for c in children if c.is_dir() and not c.name.startswith(".")]
        files = [_images_in(class_folder) for class_folder in class_folders]
    except OSError as error:
        _refuse_listing(error)
    if not class_folders:
        raise InputError(f"{folder} has no class folders; {_LAYOUT}")
    labels = np.repeat(np.arange(len(files)), [len(of_class) for of_class in files])
    paths = tuple(path for of_class in files for path in of_class)
    return tuple(c.name for c in class_folders), Listing(paths, labels.astype(np.int64))


def _images_in(class_folder: Path) -> list[Path]:
    names = sorted(
        name
        for name in os.listdir(class_folder)  # noqa: PTH208  five times Path.iterdir's speed
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122
    )
    if not names:
        raise InputError(
            f"{class_folder} holds no images; add some or remove the folder "
            f"({', '.join(SUFFIXES)})"
        )
    return [class_folder / name for name in names]


def _require_equal_classes(
    root: Path, classes: tuple[str, ...], part: str, found: tuple[str, ...]
) -> None:
    odd = sorted(set(classes) ^ set(found))
    if odd:
        where = ("train", part) if odd[0] in classes else (part, "train")
        raise InputError(
            f"{root}: class {odd[0]!r} is in {where[0]}/ but not in {where[1]}/; "
            "both need the same class folders"
        )
