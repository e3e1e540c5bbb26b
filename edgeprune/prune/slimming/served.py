"""Images that a caller already holds as the network takes them, served in batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgeprune.prune.images.held import Batch, Share, batch_indices


@dataclass(frozen=True)
class ServedImages:
    """Normalised images without labels; see :class:`~edgeprune.prune.images.held.Images`.

    Attributes:
        pixels: float32, (N, C, H, W), any device.
        share: Number of the process that is served, from 0, and number of processes.
    """

    pixels: Tensor
    share: Share = (0, 1)

    @property
    def labels(self) -> Tensor:
        """One class for all, as none is known, (N,), int64, on the CPU."""
        return torch.zeros(len(self), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> "ServedImages":
        """The same images on ``device``."""
        return replace(self, pixels=self.pixels.to(device))

    def subset(self, indices: Tensor) -> "ServedImages":
        """The images at ``indices`` (K,), in that order."""
        return replace(self, pixels=self.pixels[indices.to(self.pixels.device)])

    def shared(self, rank: int, count: int) -> "ServedImages":
        """The same images for one of several processes."""
        return replace(self, share=(rank, count))

    def batches(
        self, size: int, *, generator: torch.Generator | None = None, augment: bool = False
    ) -> Iterator[Batch]:
        """One pass over the images; they are never augmented."""
        rank, count = self.share
        for chosen in batch_indices(len(self), size, generator):
            part = chosen[rank::count].to(self.pixels.device)
            yield self.pixels[part], torch.zeros(len(part), dtype=torch.int64).to(part.device)
