"""Wavelet channel aggregation: Fisher ratios, ranks, and scores of whole sets of channels.

Part of our reconstruction; the sources are in wavelet.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.prune.models.placement import one_thread

TINY = 1e-12


@dataclass(frozen=True)
class Descriptors:
    """Wavelet descriptors of the channels of one group; all float32, on one device.

    Attributes:
        representative: Mean approximation energy per pixel, shape (C,).
        discriminative: Fisher ratio of the sub-band energies, mean over the bands, shape (C,).
        saliency: Weighted ranks of both inside the group, 0..1, shape (C,).
        cosine: Absolute cosine between centred approximations, pooled to 2 x 2 (the halves of an
            odd side share its middle), shape (C, C).
    """

    representative: Tensor
    discriminative: Tensor
    saliency: Tensor
    cosine: Tensor


@one_thread()
def aggregation(masks: Tensor, descriptors: Descriptors, redundancy: float = 0.1) -> Tensor:
    """Score channel sets (P, C), bool or 0/1, of one group by matrix products: float32, (P,).

    The kept share of all saliency, less ``redundancy`` times the mean absolute cosine
    between two kept channels (0 where fewer than two are kept); higher is better.
    """
    kept = masks.to(descriptors.saliency.dtype)
    share = descriptors.saliency / descriptors.saliency.sum().clamp_min(TINY)
    others = descriptors.cosine - torch.diag(descriptors.cosine.diagonal())
    likeness = ((kept @ others) * kept).sum(1)  # (P, C) @ (C, C): summed over ordered pairs
    count = kept.sum(1)
    pairs = (count * (count - 1)).clamp_min(1)
    return kept @ share - redundancy * likeness / pairs


def scatter_ratio(vectors: Tensor, labels: Tensor) -> Tensor:
    """Fisher's ratio of between-class to within-class scatter, mean over the features.

    Each feature is thereby measured in units of its own within-class standard deviation: one
    of little energy that separates the classes counts as much as one of much energy.

    Args:
        vectors: Features of each channel, shape (N, C, D).
        labels: Class indices, shape (N,), int64, same device.

    Returns:
        Ratio per channel, shape (C,); 0 for a channel that never changes.
    """
    _, label, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(counts), *vectors.shape[1:]).index_add_(0, label, vectors)
    means = sums / counts.view(-1, 1, 1)  # (classes, C, D)
    offsets = (means - vectors.mean(0)).square()
    between = (counts.view(-1, 1, 1) * offsets).sum(0)  # (C, D)
    within = (vectors - means[label]).square().sum(0)
    return torch.div(between, within.clamp_min(TINY)).mean(1)


def ranks(values: Tensor) -> Tensor:
    """Ranks scaled to 0..1, shape (C,); equal values share their mean rank."""
    if len(values) == 1:
        return torch.ones_like(values)
    below = (values[None, :] < values[:, None]).sum(1)  # (C, C) -> (C,)
    equal = (values[None, :] == values[:, None]).sum(1)
    return (below + (equal - 1) / 2) / (len(values) - 1)
