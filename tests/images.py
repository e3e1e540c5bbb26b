"""Small labelled images whose classes a network can, or cannot, tell apart."""

import torch

from edgeprune.prune.images.held import HeldImages


def grey_noise(
    count: int, *, side: int = 8, classes: int = 2, step: int = 60, seed: int = 0
) -> HeldImages:
    """Noise in 100 grey levels, each class ``step`` levels brighter than the one before."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 100, (count, 3, side, side), generator=generator)
    labels = torch.arange(count) % classes
    brighter = pixels + step * labels.view(-1, 1, 1, 1)
    return HeldImages(brighter.to(torch.uint8), labels)
