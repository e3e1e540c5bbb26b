"""Train, validation and test parts of images with classes: given, held out or drawn by seed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeprune.arrays import Bools, Ints
from edgeprune.errors import InputError

VALIDATION = ("val", "valid", "validation")  # what people call that part
SEED = 0  # of a drawn split
DRAWN = {"test": 0.2, "val": 0.1}  # shares of every class, at least one image


@dataclass(frozen=True)
class Listing:
    """The images of one part.

    Attributes:
        paths: Image files, class by class, by name within a class.
        labels: int64, shape (N,): index of each file's class.
    """

    paths: tuple[Path, ...]
    labels: Ints

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Ints) -> "Listing":
        """The files at ``indices``, in that order."""
        return Listing(tuple(self.paths[i] for i in indices), self.labels[indices])


@dataclass(frozen=True)
class Splits:
    """Images in three parts.

    Attributes:
        classes: Class names; their order is that of the labels. None where none are known.
        parts: ``train``, ``val`` and ``test``.
        told: How the parts came about, where they were not all given.
        lacking: What classes the training part has no image of, and what to do.
        drawn: Whether they were drawn, so that nobody knows them but by this list.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Listing]
    told: str = ""
    lacking: str = ""
    drawn: bool = False

    def without_classes(self) -> "Splits":
        """The same images, no class known."""
        parts = {
            name: Listing(part.paths, np.zeros(len(part), np.int64))
            for name, part in self.parts.items()
        }
        return replace(self, classes=(), parts=parts, lacking="")


def settled(
    source: Path,
    classes: tuple[str, ...],
    given: Mapping[str, Listing],
    *,
    may_lack_classes: bool = False,
) -> Splits:
    """Complete the parts that were given.

    Without a validation part the last tenth of each class of ``train``, in its order, becomes it.
    Without a test part the validation part is the test part: that of ImageNet is.

    Args:
        source: The folder or list that they come from, for messages.
        classes: Class names.
        given: ``train``, and ``val``, ``test`` or both.
        may_lack_classes: Whether all three parts, where they are given, may lack classes.

    Raises:
        InputError: One class only, a class that a part lacks, or one image to be held out of.
    """
    if len(classes) < 2:
        raise InputError(
            f"{source} holds one class only ({', '.join(classes)}); a classifier needs two or more"
        )
    parts, told = _tested(given, "every class of train")
    lacking = ""
    for name, part in parts.items():
        missing = sorted(set(range(len(classes))) - set(part.labels.tolist()))
        if missing and not (may_lack_classes and len(given) == 3):
            raise InputError(f"{source}: class {classes[missing[0]]!r} has no image in {name}")
        if missing and name == "train":
            lacking = (
                f"{len(missing)} of {len(classes)} classes have no image in train; --kd-weight 1 "
                "learns from the dense model alone, so that they are not forgotten"
            )
    return replace(_validated(source, classes, parts, told), lacking=lacking)


def _tested(given: Mapping[str, Listing], held_out: str) -> tuple[dict[str, Listing], str]:
    """The parts with val as test where none is given, and what is to be told of that."""
    parts = dict(given)
    if "test" in parts:
        return parts, ""
    parts["test"] = parts.pop("val")
    return parts, f"val is the test set; the last tenth of {held_out} validates"


def _validated(
    source: Path, classes: tuple[str, ...], parts: Mapping[str, Listing], told: str
) -> Splits:
    """The parts in their order, with the last tenth of train as val where none is given."""
    found = dict(parts)
    if "val" not in found:
        found["train"], found["val"] = _held_out(source, classes, found["train"])
    return Splits(classes, {name: found[name] for name in ("train", "val", "test")}, told)


def drawn(source: Path, classes: tuple[str, ...], whole: Listing) -> Splits:
    """Draw test and validation images out of every class, by seed.

    Raises:
        InputError: One class only, or a class of fewer than three images.
    """
    found = _drawn(source, classes, whole)
    settled(source, classes, found.parts)
    return found


def _drawn(source: Path, classes: tuple[str, ...], whole: Listing) -> Splits:
    rng = np.random.default_rng(SEED)
    chosen: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(classes):
        left = rng.permutation(np.flatnonzero(whole.labels == label))
        if len(left) < len(chosen):
            raise InputError(
                f"{source}: class {name!r} has {len(left)} images; three are needed to train, "
                "validate and test on"
            )
        for part, share in DRAWN.items():
            count = max(1, round(share * np.sum(whole.labels == label)))
            chosen[part] += left[:count].tolist()
            left = left[count:]
        chosen["train"] += left.tolist()
    parts = {part: whole.subset(np.sort(indices)) for part, indices in chosen.items()}
    shares = " and ".join(f"{share:.0%} to {part}" for part, share in DRAWN.items())
    of = "of every class " if len(classes) > 1 else ""
    told = f"images split with seed {SEED}, {of}{shares} (images.csv has the list)"
    ordered = {name: parts[name] for name in ("train", "val", "test")}
    return Splits(classes, ordered, told, drawn=True)


def pictures(source: Path, given: Mapping[str, tuple[Path, ...]]) -> Splits:
    """Parts of pictures without classes: completed as by :func:`settled`, or drawn from one part.

    Args:
        source: The folder that they come from, for messages.
        given: ``train`` with ``val``, ``test`` or both; or all of them under ``""``.

    Raises:
        InputError: there are fewer than three pictures to split, or one to hold out of.
    """
    named = {p: Listing(found, np.zeros(len(found), np.int64)) for p, found in given.items()}
    classes = ("picture",)  # one that all are of: shares are drawn class by class
    if "" not in named:
        if min(map(len, named.values())) < 1 or len(named["train"]) < 2:
            raise InputError(f"{source} needs two pictures in train/ and one in every other part")
        parts, told = _tested(named, "train")
        return _validated(source, classes, parts, told).without_classes()
    if len(named[""]) < 3:
        raise InputError(
            f"{source} holds {len(named[''])} pictures; three are needed to train, validate and "
            "test on"
        )
    return _drawn(source, classes, named[""]).without_classes()


def last_tenth(labels: Ints) -> Bools:
    """Whether each image is in the last tenth of its class, or its last one, shape (N,)."""
    held = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        held[of_class[-max(1, len(of_class) // 10) :]] = True
    return held


def _held_out(source: Path, classes: tuple[str, ...], train: Listing) -> tuple[Listing, Listing]:
    for label, name in enumerate(classes):
        if np.sum(train.labels == label) < 2:
            raise InputError(
                f"{source}: class {name!r} has one image in train; it needs two, one to train on "
                "and one to hold out (or give val images)"
            )
    held = last_tenth(train.labels)
    return train.subset(np.flatnonzero(~held)), train.subset(np.flatnonzero(held))
