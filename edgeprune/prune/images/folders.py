"""Image folders: files and classes of ``train/CLASS/*``, with a validation split held out."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.arrays import Bools, Ints
from edgeprune.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = "expected train/CLASS/*.jpg and test/CLASS/*.jpg"


@dataclass(frozen=True)
class Listing:
    """The images of one split.

    Attributes:
        paths: Image files, class by class, by name within a class.
        labels: int64, shape (N,): index of each file's class in the sorted class names.
    """

    paths: tuple[Path, ...]
    labels: Ints

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Ints) -> "Listing":
        """The files at ``indices``, in that order."""
        return Listing(tuple(self.paths[i] for i in indices), self.labels[indices])


def list_splits(root: Path) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """List ``train``, ``val`` and ``test`` below a folder of images.

    Without ``val/`` the last tenth of each class of ``train/`` by file name becomes it.

    Args:
        root: A folder with ``train/CLASS/*`` and ``test/CLASS/*``.

    Returns:
        The sorted class names, and the listing of each of the three splits.

    Raises:
        InputError: A folder is missing or empty, there is one class only, or two splits
            have different classes.
    """
    classes, train = _list_split(root, "train")
    if len(classes) < 2:
        raise InputError(
            f"{root / 'train'} holds one class only ({classes[0]}); "
            "a classifier needs at least two class folders"
        )
    splits = {"train": train}
    for name in ("val", "test"):
        if name == "test" or (root / name).is_dir():
            found, splits[name] = _list_split(root, name)
            _require_equal_classes(root, classes, name, found)
    if "val" not in splits:
        splits["train"], splits["val"] = _hold_out(train, classes, root)
    return classes, splits


def _list_split(root: Path, split: str) -> tuple[tuple[str, ...], Listing]:
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"{root} has no {split}/ folder; {_LAYOUT}")
    try:
        children = sorted(folder.iterdir())
        class_folders = [c for c in children if c.is_dir() and not c.name.startswith(".")]
        files = [_images_in(class_folder) for class_folder in class_folders]
    except OSError as error:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error
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
    root: Path, classes: tuple[str, ...], split: str, found: tuple[str, ...]
) -> None:
    odd = sorted(set(classes) ^ set(found))
    if odd:
        where = ("train", split) if odd[0] in classes else (split, "train")
        raise InputError(
            f"{root}: class {odd[0]!r} is in {where[0]}/ but not in {where[1]}/; "
            "both need the same class folders"
        )


def last_tenth(labels: Ints) -> Bools:
    """Whether each image is in the last tenth of its class, or its last one, shape (N,)."""
    held = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        held[of_class[-max(1, len(of_class) // 10) :]] = True
    return held


def _hold_out(train: Listing, classes: tuple[str, ...], root: Path) -> tuple[Listing, Listing]:
    for label, name in enumerate(classes):
        if np.sum(train.labels == label) < 2:
            raise InputError(
                f"{root / 'train' / name} holds one image; it needs two, one to train on "
                "and one to hold out (or give val/CLASS/ folders)"
            )
    held = last_tenth(train.labels)
    return train.subset(np.flatnonzero(~held)), train.subset(np.flatnonzero(held))
