"""Data sets by name (digits, CIFAR) or folder, split into train, validation and test."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from platformdirs import user_cache_path
from torch import Tensor

from edgeprune.errors import InputError, MachineError
from edgeprune.progress import Progress, silent
from edgeprune.prune.images import folders, image_list
from edgeprune.prune.images.decoding import MODES, Shape, Size, decode, fingerprint
from edgeprune.prune.images.held import IMAGENET, HeldImages, Images, Normalisation, stratified
from edgeprune.prune.images.names import IN_MEMORY
from edgeprune.prune.images.splits import Splits, last_tenth
from edgeprune.prune.images.streamed import MARGIN, StreamedImages
from edgeprune.text import did_you_mean

NAMES = ("digits", "cifar10", "cifar100")
LARGEST_HELD = 96  # pixels a side: 50,000 such images are 1.4 GB
DIGITS_TEST, DIGITS_VAL = 597, 200  # of 1,797, so that 1,000 are left to train on
_SPLIT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images to train on, to search with, and to judge by once, at the end.

    Attributes:
        name: ``digits``, ``cifar10``, ``cifar100`` or the folder's name.
        classes: Class names; their order is that of the labels. None where no labels are known.
        train: What training and calibration may see.
        val: Held out from train; what the search may see.
        test: What only the final figures may see.
        input_shape: Shape of one image, (C, H, W).
        normalisation: Mean and standard deviation that every batch is normalised by.
        fingerprint: Changes when an image does; part of cache keys and provenance.
        splits: The files of each part, where there are files.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    test: Images
    input_shape: Shape
    normalisation: Normalisation
    fingerprint: str
    splits: Splits | None = None

    @property
    def has_targets(self) -> bool:
        """Whether its batches bring labels or other targets that mean anything."""
        held = isinstance(self.test, HeldImages) and self.test.targets is not None
        return held or bool(self.classes)


def resize_rule(source: str, size: Size) -> str:
    """How an image comes to ``size``, height and width, in words an application can follow."""
    height, width = size
    side = f"{width}x{height}"
    if source in ("cifar10", "cifar100"):
        return f"none: images have {side} pixels"
    if source.startswith(IN_MEMORY):
        return f"none: images were passed in Python with {side} pixels"
    if source == "digits":
        return f"bilinear from 8x8 to {side}"
    if max(size) > LARGEST_HELD:
        height, width = (round(length * MARGIN) for length in size)
    covered = f"short side to {height}" if size[0] == size[1] else f"to cover {width}x{height}"
    return f"{covered} pixels, bilinear; the middle {side} cut out"


def load(
    source: str,
    *,
    size: Size | int = 32,
    normalisation: Normalisation = IMAGENET,
    labelled: bool = True,
    cache: Path | None = None,
    progress: Progress = silent,
) -> DataSet:
    """Load a data set by name or from a folder of images.

    Args:
        source: ``digits``, ``cifar10``, ``cifar100``, a folder of class folders, or a list, as of
            :func:`folders.list_splits` and :func:`image_list.list_splits`.
        size: Height and width of the input in pixels, or the side of a square one; files are
            streamed above 96.
        normalisation: Mean and standard deviation of the network's input; it has as many channels
            as they are for: grey, RGB, or RGB and opacity.
        labelled: Whether classes are wanted. Else a folder may hold pictures in any folders.
        cache: Folder for downloads and decoded images; the user's cache without one.
        progress: Called with the number of images decoded so far.

    Returns:
        The set, held in memory on the CPU or streamed from its files.

    Raises:
        InputError: No such set or folder, or something is wrong in the folder.
        MachineError: The download failed or a package is missing.
    """
    size = (size, size) if isinstance(size, int) else size
    if min(size) < 1:
        raise InputError(f"the image size must be at least 1 pixel, not {min(size)}")
    if normalisation.channels not in MODES:
        raise InputError(
            f"image files are read with {', '.join(map(str, MODES))} channels; the network takes "
            f"{normalisation.channels}: pass tensors to edgeprune.search in Python"
        )
    if source in NAMES:
        named = (
            _digits(size, normalisation)
            if source == "digits"
            else _cifar(source, size, normalisation, cache)
        )
        return named if labelled else replace(named, classes=())
    root = Path(source)
    if root.is_dir():
        splits = folders.list_splits(root) if labelled else folders.list_pictures(root)
    elif root.is_file() and root.suffix.lower() in image_list.SUFFIXES:
        splits = image_list.list_splits(root)
        splits = splits if labelled else splits.without_classes()
    else:
        hint = did_you_mean(source, NAMES, otherwise=f"; known names: {', '.join(NAMES)}")
        raise InputError(f"no folder, no list of images and no data set {source!r}{hint}")
    return _files(root, splits, size, normalisation, cache, progress)


def sample(images: Images, count: int, *, seed: int = 0) -> Images:
    """A part of ``count`` images in which every class keeps its share."""
    return images.subset(stratified(images.labels, count, seed))


def _digits(size: Size, normalisation: Normalisation) -> DataSet:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MachineError(
            'the digits need scikit-learn; pip install "edgeprune[search]"'
        ) from error
    bunch = load_digits()
    # 8x8 pixels in 0..16 -> (N, 1, 8, 8) in 0..255
    scans = torch.from_numpy(bunch.images).float().mul(255 / 16).unsqueeze(1)
    scaled = F.interpolate(scans, size=size, mode="bilinear", align_corners=False)
    pixels = scaled.round().to(torch.uint8).repeat(1, normalisation.channels, 1, 1)
    pixels[:, 3:] = 255  # opaque
    # A mirrored 2 is no 2: no flip.
    labels = torch.from_numpy(bunch.target).long()
    whole = HeldImages(pixels, labels, normalisation=normalisation, flip=False)
    rest, test = _parted(whole, stratified(whole.labels, DIGITS_TEST, _SPLIT_SEED))
    train, val = _parted(rest, stratified(rest.labels, DIGITS_VAL, _SPLIT_SEED))
    names = tuple(str(digit) for digit in range(10))
    return DataSet(
        name="digits",
        classes=names,
        train=train,
        val=val,
        test=test,
        input_shape=(normalisation.channels, *size),
        normalisation=normalisation,
        fingerprint="digits-1",
    )


def _parted(images: HeldImages, chosen: Tensor) -> tuple[HeldImages, HeldImages]:
    """The images that were not chosen, by index, and those that were."""
    rest = torch.ones(len(images), dtype=torch.bool)
    rest[chosen] = False
    return images.subset(rest.nonzero().flatten()), images.subset(chosen)


def _cifar(name: str, size: Size, normalisation: Normalisation, cache: Path | None) -> DataSet:
    if (normalisation.channels, *size) != (3, 32, 32):
        raise InputError(
            f"{name} has images of 3 channels and 32x32 pixels, the model wants "
            f"{normalisation.channels} and {size[0]}x{size[1]}"
        )
    folder = cache or user_cache_path("edgeprune") / "downloads"
    classes, train_pixels, train_labels = _download(name, folder, train=True)
    _, test_pixels, test_labels = _download(name, folder, train=False)
    held = torch.from_numpy(last_tenth(train_labels.numpy())).nonzero().flatten()
    known = HeldImages(train_pixels, train_labels, normalisation=normalisation)
    train, val = _parted(known, held)
    return DataSet(
        name=name,
        classes=classes,
        train=train,
        val=val,
        test=HeldImages(test_pixels, test_labels, normalisation=normalisation),
        input_shape=(3, 32, 32),
        normalisation=normalisation,
        fingerprint=f"{name}-1",
    )


def _download(name: str, folder: Path, *, train: bool) -> tuple[tuple[str, ...], Tensor, Tensor]:
    from torchvision import datasets

    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = kind(str(folder), train=train, download=True)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MachineError(
            f"cannot download {name} ({reason}); put {kind.filename} into {folder}, "
            "or give a folder of images with --data PATH"
        ) from error
    pixels = torch.from_numpy(np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)))
    return tuple(found.classes), pixels, torch.tensor(found.targets, dtype=torch.int64)


def _files(
    root: Path,
    found: Splits,
    size: Size,
    normalisation: Normalisation,
    cache: Path | None,
    progress: Progress,
) -> DataSet:
    listed, key = found.parts, fingerprint(found.parts, root)
    splits: dict[str, Images]
    shape = (normalisation.channels, *size)
    if max(size) > LARGEST_HELD:
        splits = {
            name: StreamedImages(listing=files, size=size, normalisation=normalisation)
            for name, files in listed.items()
        }
    else:
        pixels = decode(listed, shape, key, cache=cache, progress=progress)
        splits = {
            name: HeldImages(
                torch.from_numpy(pixels[name]),
                torch.from_numpy(files.labels),
                normalisation=normalisation,
            )
            for name, files in listed.items()
        }
    return DataSet(
        name=root.name,
        classes=found.classes,
        **splits,
        input_shape=shape,
        normalisation=normalisation,
        fingerprint=key,
        splits=found,
    )
