"""Streamed images: files too large to hold, decoded batch by batch in worker processes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgeprune.errors import InputError
from edgeprune.prune.images.decoding import Size, allowed_cores, fitted, open_image
from edgeprune.prune.images.held import (
    IMAGENET,
    Batch,
    Normalisation,
    Share,
    batch_indices,
    needed,
)
from edgeprune.prune.images.splits import Listing

CPU = torch.device("cpu")
MARGIN = 256 / 224  # as published ImageNet accuracies are measured
_TRIES = 10  # as torchvision: then the middle is taken
_Draw = tuple[int, int | None]


@dataclass(frozen=True, kw_only=True)
class StreamedImages:
    """Images that are read from their files at every pass.

    In training a random part (8-100 % of the area, sides 3:4 to 4:3 of the input's) is scaled to
    the input size and half of the images are mirrored; else the image is scaled to cover 256/224
    of the input size and the middle is cut out, as published ImageNet accuracies are measured.

    Attributes:
        listing: Files and labels.
        size: Height and width of the input in pixels.
        normalisation: Applied to every batch.
        device: Where batches are delivered.
        workers: Decoding processes, started for each pass; 0 decodes in this process. All cores
            that this process may use, up to 8, by default.
        share: Number of the training process that is served, from 0, and number of processes.
    """

    listing: Listing
    size: Size
    normalisation: Normalisation = IMAGENET
    device: torch.device = CPU
    workers: int = field(default_factory=lambda: min(8, allowed_cores()))
    share: Share = (0, 1)

    @property
    def labels(self) -> Tensor:
        """Class indices, shape (N,), int64, on the CPU."""
        return torch.from_numpy(self.listing.labels)

    def __len__(self) -> int:
        return len(self.listing)

    def to(self, device: torch.device) -> "StreamedImages":
        """The same images with batches delivered on ``device``."""
        return replace(self, device=device)

    def subset(self, indices: Tensor) -> "StreamedImages":
        """The images at ``indices`` (K,), in that order."""
        return replace(self, listing=self.listing.subset(indices.numpy()))

    def shared(self, rank: int, count: int) -> "StreamedImages":
        """The same images for one of several processes; see ``Images``."""
        return replace(self, share=(rank, count))

    def batches(
        self, size: int, *, generator: torch.Generator | None = None, augment: bool = False
    ) -> Iterator[Batch]:
        """One pass over the images; see :class:`~edgeprune.prune.images.held.Images`."""
        rank, count = self.share
        draws = [batch[rank::count] for batch in _draws(len(self), size, generator, augment)]
        # Workers live for one pass: kept ones would idle in memory beside those of other splits.
        loader: DataLoader[Batch] = DataLoader(
            _Files(self.listing, self.size, self.normalisation.channels),
            batch_sampler=draws,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            # Its own generator, or the loader would draw a seed from torch's global one.
            generator=torch.Generator().manual_seed(0),
        )
        try:
            for pixels, labels in loader:
                moved = pixels.to(self.device, non_blocking=True)
                yield self.normalisation(moved), labels.to(self.device)
        except InputError as error:
            # A worker's error arrives wrapped in its traceback; the last line is ours.
            message = str(error).strip().splitlines()[-1]
            raise InputError(message.rpartition("InputError: ")[2]) from None


def _draws(
    count: int, size: int, generator: torch.Generator | None, augment: bool
) -> list[list[_Draw]]:
    """Index and seed of every image of every batch; seeds make workers' numbers irrelevant."""
    batches = batch_indices(count, size, generator)
    if not augment:
        return [[(int(index), None) for index in batch] for batch in batches]
    seeds = torch.randint(0, 2**31 - 1, (count,), generator=needed(generator)).tolist()
    return [[(int(index), seeds[int(index)]) for index in batch] for batch in batches]


class _Files(Dataset[Batch]):
    """Decodes one file; the index carries the seed of its random part, if any."""

    def __init__(self, listing: Listing, size: Size, channels: int) -> None:
        self.listing, self.size, self.channels = listing, size, channels

    def __getitem__(self, draw: _Draw) -> Batch:
        index, seed = draw
        image = open_image(self.listing.paths[index], self.channels)
        cut = self._centre(image) if seed is None else self._random(image, seed)
        pixels = torch.from_numpy(np.array(cut)).view(*self.size, -1).permute(2, 0, 1)
        return pixels, torch.tensor(self.listing.labels[index])

    def _centre(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        wide = fitted(image, (round(height * MARGIN), round(width * MARGIN)))
        left, top = (wide.width - width) // 2, (wide.height - height) // 2
        return wide.crop((left, top, left + width, top + height))

    def _random(self, image: Image.Image, seed: int) -> Image.Image:
        generator = np.random.default_rng(seed)
        box = _random_box(image, self.size, generator)
        cut = image.resize(self.size[::-1], Image.Resampling.BILINEAR, box=box)
        mirrored = generator.random() < 0.5
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cut


def _random_box(
    image: Image.Image, size: Size, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random part: left, top, right, bottom in pixels (Szegedy et al., CVPR 2015)."""
    width, height = image.size
    wanted = size[1] / size[0]
    for _ in range(_TRIES):
        area = width * height * generator.uniform(0.08, 1.0)
        aspect = wanted * math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(generator.integers(0, width - w + 1))
            top = int(generator.integers(0, height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, max(1, round(height * wanted))), min(height, max(1, round(width / wanted)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
