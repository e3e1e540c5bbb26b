"""Decoding and wavelet aggregation of a population of bit strings by matrix products (GWCS)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from edgeprune.arrays import Floats, Ints, Widths
from edgeprune.prune.models.placement import one_thread
from edgeprune.prune.saliency.descriptors import Descriptors, aggregation
from edgeprune.prune.space.budget import Costs, narrowed
from edgeprune.prune.space.widths import PruningSpace


@one_thread()
def decode_bits(bits: Tensor, saliency: Tensor, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Bring bit strings of one group onto the device's width grid.

    The set bits are counted and rounded up to the next grid width; the missing channels are
    filled with the unset ones of highest saliency, since they cost nothing. Fewer set bits
    than half the smallest width drop the branch where the grid holds 0, else give the
    smallest width. Our reconstruction; the paper does not give its decoding.

    Args:
        bits: Set channels of a population, shape (P, C), bool.
        saliency: Importance of each channel, shape (C,).
        grid: Legal widths, ascending, ending in C; 0 first where the branch may be dropped.

    Returns:
        Masks (P, C), bool, and their widths (P,), int64, on the device of ``bits``.
    """
    unset = (~bits).to(saliency.dtype)  # (P, C)
    count = bits.shape[1] - unset.sum(1).long()
    widths = _rounded_up(bits.shape[1], grid, bits.device)[count]
    # A channel's column counts the unset channels ahead of it, and adds an offset that no count
    # reaches if it is unset itself. 0, 1, powers of two: exact in every precision of products.
    # A running count or a sort within each mask is plainer, but takes two and three times the
    # time on 64 channels and 512 masks or more.
    offset = 2.0 ** bits.shape[1].bit_length()
    place = saliency.argsort(descending=True, stable=True).argsort()
    before = (place[:, None] < place[None]).to(saliency.dtype).fill_diagonal_(offset)  # (C, C)
    last = torch.where(widths > 0, offset + (widths - count) - 1, -1.0)
    return unset @ before <= last[:, None], widths


def _rounded_up(channels: int, grid: Sequence[int], device: torch.device) -> Tensor:
    """The width that each number of set bits is brought to, shape (channels + 1,)."""
    counts = torch.arange(channels + 1, device=device)
    legal = torch.tensor([width for width in grid if width > 0], device=device)
    widths = legal[torch.searchsorted(legal, counts)]
    return torch.where(2 * counts < legal[0], 0, widths) if grid[0] == 0 else widths


@dataclass(frozen=True, kw_only=True)
class StageFitness:
    """Objectives of bit strings over the groups of one search space, the others held fixed.

    Attributes:
        space: All groups and their grids.
        descriptors: Wavelet descriptors per group, on the device to score on.
        costs: Predicted costs.
        members: Indices of the groups the bits belong to, in genome order.
        fixed: Width of every group before this stage, shape (G,).
        limits: Highest shares of the dense costs (latency, MACs, params), shape (3,).
        redundancy: Weight of the mean absolute cosine between kept channels (docs/search.md).
        budget: Limits of the whole network when all stages are done, shape (3,).
        ahead: Indices of the groups of the stages still to come.
    """

    space: PruningSpace
    descriptors: tuple[Descriptors, ...]
    costs: Costs
    members: tuple[int, ...]
    fixed: Widths
    limits: Floats = field(default_factory=lambda: np.full(3, np.inf))
    redundancy: float = 0.1
    budget: Floats = field(default_factory=lambda: np.full(3, np.inf))
    ahead: tuple[int, ...] = ()

    @property
    def genes(self) -> int:
        """Number of bits of a genome: one per channel of the member groups."""
        return sum(self.space.groups[member].width for member in self.members)

    @one_thread()
    def decode(self, genomes: Ints) -> tuple[list[Tensor], Widths]:
        """Masks per member group, each (P, C), and the widths of all groups, (P, G)."""
        device = self.descriptors[0].saliency.device
        bits = torch.from_numpy(genomes).to(device).bool()
        sizes = [self.space.groups[member].width for member in self.members]
        widths = np.repeat(self.fixed[None], len(genomes), 0)  # (P, G)
        masks = []
        for member, part in zip(self.members, torch.split(bits, sizes, 1), strict=True):
            saliency = self.descriptors[member].saliency
            mask, width = decode_bits(part, saliency, self.space.grids[member])
            masks.append(mask)
            widths[:, member] = width.cpu().numpy()
        settled = self.space.settle(widths)  # an emptied group empties its branch
        for mask, member in zip(masks, self.members, strict=True):
            mask[torch.from_numpy(settled[:, member] < widths[:, member]).to(device)] = False
        return masks, settled

    def least(self, widths: Widths) -> Floats:
        """Cost shares with every stage ahead at its floor: below them nothing can come, (P, 3)."""
        return self.costs.ratios(narrowed(self.space, widths, self.ahead))

    @one_thread()
    def aggregation(self, masks: Sequence[Tensor]) -> Floats:
        """Wavelet aggregation of a population, (P,), groups weighted by their dense width."""
        scores = [
            aggregation(mask, self.descriptors[member], self.redundancy)
            * self.space.groups[member].width
            for member, mask in zip(self.members, masks, strict=True)
        ]
        return (torch.stack(scores).sum(0) / self.genes).double().cpu().numpy()
