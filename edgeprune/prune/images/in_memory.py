"""Images of torch Datasets and DataLoaders, read once and held in memory as uint8."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, default_collate

from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import HeldImages, Normalisation, usual
from edgeprune.prune.images.names import IN_MEMORY, UNMIRRORED
from edgeprune.prune.images.splits import last_tenth
from edgeprune.text import error_line

Source = Dataset[Any] | DataLoader[Any]
SPLITS = {2: ("train", "test"), 3: ("train", "val", "test")}
MOST_BYTES = 4 << 30  # of uint8: 28,000 images of 224 pixels; a folder of images is streamed
_BATCH = 256
_LOOKED_AT = 8  # images read twice: a mirroring of every second one slips through once in 256
_SLACK = 0.5 / 255  # half a level: what rounding adds to a value in [0, 1]


def hold(
    splits: Sequence[Source],
    normalisation: Normalisation | None = None,
    *,
    flip: bool = True,
    labelled: bool = True,
) -> DataSet:
    """Read every image once, and hold them as images of a folder are held.

    Images are tensors (C, H, W), all of one shape: uint8; or float in [0, 1]; or float that
    were normalised by ``normalisation``, which is then undone. Floats are rounded to 256 levels,
    which gives back what was read from a usual file. Of a DataLoader those images count that its
    sampler names; its batches, order and ``drop_last`` do not matter. Without a third split the
    last tenth of each class of the first one is held out for the search.

    Args:
        splits: Train and test, or train, val and test; each gives (image, label), labels being
            the index of the class.
        normalisation: What the network was trained with. By default ImageNet's for uint8; floats
            in [0, 1] reach the network as they are.
        flip: Whether a mirrored image still shows its class.
        labelled: Whether labels are wanted. Else the splits may give images alone, or (image,
            target), a target being anything that stacks to a tensor.

    Returns:
        The images; the classes have the names of ``dataset.classes``, or numbers.

    Raises:
        InputError: a split that gives something else, or more than 4 GiB; one line says what.
    """
    parts = len(splits) if isinstance(splits, tuple | list) else 0
    if parts not in SPLITS:
        raise InputError(
            f"data is a {type(splits).__name__} of {parts} parts; give (train, test) or (train, "
            "val, test), or the name of a data set or folder"
        )
    names = SPLITS[parts]
    read = {
        name: _read(split, name, normalisation, labelled=labelled)
        for name, split in zip(names, splits, strict=True)
    }
    shapes = {(*held.pixels.shape[1:], kind) for held, kind in read.values()}
    if len(shapes) > 1:
        raise InputError(f"the parts of data differ in the size or the kind of images: {shapes}")
    *shape, kind = next(iter(shapes))
    network_takes = normalisation or _usual(kind, shape[0])
    held = {
        name: replace(images, normalisation=network_takes, flip=flip)
        for name, (images, _) in read.items()
    }
    fingerprint = _fingerprint(held, flip=flip)
    if "val" not in held:
        held = _held_out(held)
    first = _innermost(splits[0])
    return DataSet(
        name=f"{IN_MEMORY}{type(first).__name__}{'' if flip else UNMIRRORED}",
        classes=_classes(first, held) if labelled else (),
        train=held["train"],
        val=held["val"],
        test=held["test"],
        input_shape=(shape[0], shape[1], shape[2]),
        normalisation=network_takes,
        fingerprint=fingerprint,
    )


def _read(
    split: object, name: str, normalisation: Normalisation | None, *, labelled: bool
) -> tuple[HeldImages, str]:
    """The images of one split, and their kind: ``uint8`` or ``float``."""
    dataset, indices, workers = _listed(split, name)
    try:
        shape = _looked_at(dataset, indices, name, labelled=labelled)
        if normalisation and normalisation.channels != shape[0]:
            raise InputError(
                f"{name} gives images of {shape[0]} channels, mean= and std= are for "
                f"{normalisation.channels}; give a number for each channel"
            )
        if len(indices) * shape.numel() > MOST_BYTES:
            raise InputError(
                f"{name} has {len(indices):,} images of shape {tuple(shape)}, more than "
                f"{MOST_BYTES >> 30} GiB; give a folder of images, which is streamed"
            )
        loader: DataLoader[Any] = DataLoader(
            Subset(dataset, indices),
            batch_size=_BATCH,
            num_workers=workers,
            # Its own generator, or the loader would draw a seed from torch's global one.
            generator=torch.Generator().manual_seed(0),
        )
        pixels, targets, normalised = list[Tensor](), list[Any](), False
        for number, batch in enumerate(loader):
            images, target = (batch, None) if isinstance(batch, Tensor) else (batch[0], batch[-1])
            target = None if target is images else target  # a tuple of an image alone
            if number == 0:
                normalised = images.is_floating_point() and not _in_range(images)
            pixels.append(_levels(images, name, normalisation, normalised=normalised))
            targets.append(target)
    except InputError:
        raise
    except Exception as error:  # the caller's own code
        raise InputError(f"{name} cannot be read: {error_line(error)}") from error
    kind = "float" if images.is_floating_point() else "uint8"
    known = torch.cat(targets) if all(isinstance(t, Tensor) for t in targets) else None
    joined = torch.cat(pixels)
    if known is not None and labelled:
        return HeldImages(joined, known.to(torch.int64)), kind
    return HeldImages(joined, torch.zeros(len(joined), dtype=torch.int64), targets=known), kind


def _listed(split: Any, name: str) -> tuple[Dataset[Any], list[int], int]:
    """The data set behind a split, the indices of the images that count, and its workers."""
    loader = split if isinstance(split, DataLoader) else None
    dataset = loader.dataset if loader else split
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise InputError(
            f"{name} is a {type(dataset).__name__}, which has no length or no items by index; "
            "give a map-style torch Dataset, or a DataLoader of one"
        )
    indices = list(range(len(dataset)))
    if loader:
        if loader.collate_fn is not default_collate:
            raise InputError(
                f"{name} is a DataLoader with a collate_fn of its own, which may change images; "
                "give its dataset"
            )
        with torch.random.fork_rng(devices=[]):  # a shuffling sampler draws from torch's
            usual = type(loader.batch_sampler) is BatchSampler
            drawn = loader.sampler if usual else chain.from_iterable(loader.batch_sampler or ())
            indices = sorted(drawn)
    if len(set(indices)) < len(indices):
        raise InputError(f"{name} is a DataLoader that draws images twice; give its dataset")
    if not indices:
        raise InputError(f"{name} holds no image")
    return dataset, indices, loader.num_workers if loader else 0


def _looked_at(dataset: Any, indices: Sequence[int], name: str, *, labelled: bool) -> torch.Size:
    """Look at a few items, and give the shape of an image."""
    shape = torch.Size()
    for index in indices[:: max(1, len(indices) // _LOOKED_AT)][:_LOOKED_AT]:
        item = dataset[index]
        image, label = _pair(item, name, labelled=labelled)
        if not isinstance(image, Tensor):
            raise InputError(
                f"{name} gives images of type {type(image).__name__}; give tensors, such as with "
                "torchvision.transforms.ToTensor()"
            )
        if image.ndim != 3 or image.shape != (shape or image.shape):
            raise InputError(
                f"{name} gives images of shape {tuple(image.shape)}; a search takes (channels, "
                "height, width), all of one shape: resize or crop"
            )
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise InputError(f"{name} gives images of {image.dtype}; give uint8 or float")
        if labelled:
            _refuse_label(label, name)
        again, _ = _pair(dataset[index], name, labelled=labelled)
        if not torch.equal(again.nan_to_num(), image.nan_to_num()):
            raise InputError(
                f"{name} gives another image each time that it is read; leave random transforms "
                "out: a search shifts and mirrors by itself"
            )
        shape = image.shape
    return shape


def _pair(item: Any, name: str, *, labelled: bool) -> tuple[Any, Any]:
    """Image and label; where no labels are wanted an image alone, or with any target."""
    if isinstance(item, Tensor) and not labelled:
        return item, None
    if isinstance(item, tuple | list) and (len(item) == 2 or (len(item) == 1 and not labelled)):
        return item[0], item[-1]
    wanted = "a pair (image, label)" if labelled else "an image or a pair (image, target)"
    raise InputError(f"{name} gives a {type(item).__name__}, not {wanted}")


def _refuse_label(label: Any, name: str) -> None:
    number = torch.as_tensor(label)
    if number.ndim or number.is_floating_point() or number < 0:
        raise InputError(f"{name} gives the label {label!r}; give the index of the class")


def _usual(kind: str, channels: int) -> Normalisation:
    """ImageNet's for uint8; floats in [0, 1] reach the network as they are."""
    if kind != "uint8":
        return Normalisation((0.0,) * channels, (1.0,) * channels)
    return usual(channels)


def _in_range(images: Tensor) -> bool:
    return bool(images.min() >= -_SLACK and images.max() <= 1 + _SLACK)


def _levels(
    images: Tensor, name: str, normalisation: Normalisation | None, *, normalised: bool
) -> Tensor:
    """Images (B, C, H, W) as uint8."""
    if not images.is_floating_point():
        return images
    shown = images.float()
    if normalised and normalisation is None:
        raise InputError(
            f"{name} has values from {_range(shown)}: state the mean= and std= that the images "
            "were normalised with, or give uint8 or floats in [0, 1]"
        )
    if normalised and normalisation:
        colours = normalisation.std, normalisation.mean
        std, mean = (torch.tensor(values).view(1, -1, 1, 1) for values in colours)
        shown = shown * std + mean
    if not _in_range(shown):  # NaN is out of every range
        undone = " after mean= and std= were undone" if normalised else ""
        raise InputError(
            f"{name} has values from {_range(shown)}{undone}, outside of [0, 1]; give uint8, "
            "floats in [0, 1], or the mean= and std= that the images were normalised with"
        )
    return (shown * 255).round().clamp(0, 255).to(torch.uint8)


def _range(images: Tensor) -> str:
    return f"{float(images.min()):.3g} to {float(images.max()):.3g}"


def _held_out(held: dict[str, HeldImages]) -> dict[str, HeldImages]:
    """Train and test with the last tenth of each class of train as val, as of a folder."""
    train = held["train"]
    counts = train.labels.bincount()
    if bool((counts == 1).any()):
        raise InputError(
            f"train has one image of class {int((counts == 1).nonzero()[0])}; it needs two, one "
            "to train on and one to hold out (or give (train, val, test))"
        )
    last = torch.from_numpy(last_tenth(train.labels.numpy()))
    return {
        "train": train.subset((~last).nonzero().flatten()),
        "val": train.subset(last.nonzero().flatten()),
        "test": held["test"],
    }


def _classes(dataset: object, held: dict[str, HeldImages]) -> tuple[str, ...]:
    """Names of the classes, numbers where the data set has none that fit the labels."""
    count = 1 + max(int(images.labels.max()) for images in held.values())
    if count < 2:
        raise InputError("data has one class only; a classifier needs at least two")
    named = getattr(dataset, "classes", None)
    if isinstance(named, list | tuple) and len(named) >= count:
        return tuple(map(str, named))
    return tuple(map(str, range(count)))


def _innermost(split: object) -> object:
    """The data set in a DataLoader and in parts of parts."""
    while isinstance(split, DataLoader | Subset):
        split = split.dataset
    return split


def _fingerprint(held: dict[str, HeldImages], *, flip: bool) -> str:
    found = hashlib.sha256(f"in memory 1, flip {flip}".encode())
    for name, images in held.items():
        found.update(name.encode())
        found.update(images.pixels.contiguous().numpy().tobytes())
        known = images.labels if images.targets is None else images.targets
        found.update(known.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
