"""Images held on the device as uint8: batches, normalisation, augmentation, stratified choice."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeprune.errors import InputError

PADDING = 4  # pixels, as He et al. augment CIFAR
Batch = tuple[Tensor, Tensor]
Share = tuple[int, int]


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from and divided out of pixels in [0, 1], channel by channel.

    Attributes:
        mean: One mean a channel, finite; ImageNet's of red, green and blue by default.
        std: One standard deviation a channel, finite and each above 0.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def channels(self) -> int:
        """How many channels an image has."""
        return len(self.mean)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise InputError(
                f"mean and std need a number for each channel, not {self.mean} and {self.std}"
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise InputError(f"mean and std must be finite, not {self.mean} and {self.std}")
        if not all(value > 0 for value in self.std):
            raise InputError(f"every std must be above 0, not {self.std}")

    def __call__(self, pixels: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) to float32 on the same device."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        # (pixels / 255 - mean) / std, in place and with one multiplication.
        return pixels.float().mul_(1 / (255 * std)).sub_(mean / std)


IMAGENET = Normalisation()
GREY = Normalisation((0.449,), (0.226,))  # the means of ImageNet's three, as timm has it


def usual(channels: int) -> Normalisation:
    """ImageNet's mean and deviation, for RGB and grey.

    Raises:
        InputError: nothing is usual for so many channels.
    """
    known = {1: GREY, 3: IMAGENET}
    if channels not in known:
        raise InputError(
            f"the network takes images of {channels} channels; give --mean and --std with "
            "a number for each"
        )
    return known[channels]


def completed(
    channels: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Normalisation:
    """What was given, with what is usual for so many channels in place of what was not.

    Raises:
        InputError: something is missing for which nothing is usual.
    """
    known = IMAGENET if mean and std else usual(channels)
    # Plain tuples: they go into model.pt, which holds no class of ours.
    return Normalisation(tuple(mean or known.mean), tuple(std or known.std))


class Images(Protocol):
    """Labelled images that are served in normalised batches, wherever they lie."""

    @property
    def labels(self) -> Tensor:
        """Class indices, shape (N,), int64, on the CPU."""

    def __len__(self) -> int:
        """Number of images."""

    def to(self, device: torch.device) -> "Images":
        """The same images, with batches delivered on ``device``."""

    def subset(self, indices: Tensor) -> "Images":
        """The images at ``indices`` (K,), in that order."""

    def shared(self, rank: int, count: int) -> "Images":
        """The same images, of every batch only the share of one of ``count`` processes.

        Shares are disjoint and make up the batch; its order and augmentation stay what they
        are for one process.
        """

    def batches(
        self, size: int, *, generator: torch.Generator | None = None, augment: bool = False
    ) -> Iterator[Batch]:
        """One pass over the images.

        Args:
            size: Images per batch.
            generator: CPU generator: shuffles, and leaves an incomplete last batch out.
                Without one the order is that of the set, and no image is left out.
            augment: Crop, and flip where the set allows it; needs ``generator``.

        Returns:
            Pairs of float32 images (B, C, H, W) and int64 labels (B,) on the device.
        """


@dataclass(frozen=True)
class HeldImages:
    """Images that fit on the device as uint8 and never leave it.

    Attributes:
        pixels: uint8, shape (N, C, H, W), any device.
        labels: int64, shape (N,), on the CPU.
        normalisation: Applied to every batch.
        flip: Whether a mirrored image still shows its class (no for digits).
        share: Number of the process that is served, from 0, and number of processes.
        targets: What batches bring in place of the labels, shape (N, ...), on the CPU.
    """

    pixels: Tensor
    labels: Tensor
    _: KW_ONLY
    targets: Tensor | None = None
    normalisation: Normalisation = IMAGENET
    flip: bool = True
    share: Share = (0, 1)

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    def to(self, device: torch.device) -> "HeldImages":
        """The same images with their pixels on ``device``."""
        return replace(self, pixels=self.pixels.to(device))

    def subset(self, indices: Tensor) -> "HeldImages":
        """The images at ``indices`` (K,), in that order."""
        pixels = self.pixels[indices.to(self.pixels.device)]
        targets = None if self.targets is None else self.targets[indices]
        return replace(self, pixels=pixels, labels=self.labels[indices], targets=targets)

    def shared(self, rank: int, count: int) -> "HeldImages":
        """The same images for one of several processes; see :class:`Images`."""
        return replace(self, share=(rank, count))

    def batches(
        self, size: int, *, generator: torch.Generator | None = None, augment: bool = False
    ) -> Iterator[Batch]:
        """One pass over the images; see :class:`Images`."""
        device = self.pixels.device
        rank, count = self.share
        for chosen in batch_indices(len(self), size, generator):
            pixels = self.pixels[chosen.to(device)]
            if augment:
                pixels = augmented(pixels, needed(generator), flip=self.flip)
            known = self.labels if self.targets is None else self.targets
            labels = known[chosen[rank::count]].to(device)
            yield self.normalisation(pixels[rank::count]), labels


def needed(generator: torch.Generator | None) -> torch.Generator:
    """The generator that augmentation cannot do without."""
    if generator is None:
        raise ValueError("augmentation draws random numbers: pass a generator")
    return generator


def batch_indices(count: int, size: int, generator: torch.Generator | None) -> tuple[Tensor, ...]:
    """Indices of each batch of one pass over ``count`` images.

    A shuffled pass leaves an incomplete last batch out, unless it is the only one: tiny
    batches give BatchNorm noisy statistics.
    """
    if generator is None:
        return torch.split(torch.arange(count), size)
    batches = torch.split(torch.randperm(count, generator=generator), size)
    whole = tuple(batch for batch in batches if len(batch) == size)
    return whole or batches


def augmented(pixels: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    """Shift each uint8 image (B, C, H, W) by up to 4 pixels over a black border; mirror half.

    Random numbers come from the CPU generator, so every device sees the same images.
    """
    count, channels, height, width = pixels.shape
    device = pixels.device
    top, left = torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator)
    rows = top + torch.arange(height)  # (B, H)
    columns = left + torch.arange(width)  # (B, W)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(pixels, (PADDING,) * 4)  # (B, C, H + 8, W + 8)
    # The four indices broadcast to (B, C, H, W).
    image = torch.arange(count, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    rows, columns = rows.to(device), columns.to(device)
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Choose images so that every class keeps its share, to the image.

    Args:
        labels: int64, shape (N,), on the CPU.
        count: Number of images to choose; all where there are no more.
        seed: Seed of the choice.

    Returns:
        Sorted indices, shape (min(count, N),), int64.
    """
    total = len(labels)
    if count >= total:
        return torch.arange(total)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(total, generator=generator)
    order = order[torch.argsort(labels[order], stable=True)]
    # Evenly spaced picks from a list sorted by class give each class its share.
    picks = (torch.arange(count, dtype=torch.float64) + 0.5) * (total / count)
    return order[picks.long()].sort().values
