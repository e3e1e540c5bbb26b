"""Small labelled images whose classes a network can, or cannot, tell apart."""

import torch

from edgeprune.prune.images.held import HeldImages, Normalisation

PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def grey_noise(
    count: int, *, side: int = 8, classes: int = 2, step: int = 60, seed: int = 0
) -> HeldImages:
    """Noise in 100 grey levels, each class ``step`` levels brighter than the one before."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 100, (count, 3, side, side), generator=generator)
    labels = torch.arange(count) % classes
    brighter = pixels + step * labels.view(-1, 1, 1, 1)
    return HeldImages(brighter.to(torch.uint8), labels)


def sorted_by_class(count: int = 600) -> HeldImages:
    """Three classes one after the other, each brighter, as folders of real images may be."""
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (count, 3, 4, 4), generator=generator).to(torch.uint8)
    labels = torch.arange(count) * 3 // count
    brighter = labels.view(-1, 1, 1, 1).to(torch.uint8) * 80
    return HeldImages(pixels // 3 + brighter, labels, normalisation=PLAIN)
