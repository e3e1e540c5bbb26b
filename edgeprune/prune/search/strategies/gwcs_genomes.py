"""Genomes of GWCS: widths whose masks are looked up in the order, or raw bits of all channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgeprune.arrays import Floats, Genomes, Widths
from edgeprune.prune.models.placement import best_device, one_thread
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation import sensitivity
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.sensitivity import SCALE, Sensitivity
from edgeprune.prune.space.widths import PruningSpace


class Coding(Protocol):
    """What the genomes of one search space mean; groups outside it stay whole."""

    @property
    def choices(self) -> list[int]:
        """Number of values that each gene takes."""
        ...

    def widths(self, genomes: Genomes) -> Widths:
        """Widths of all groups, (P, G)."""
        ...

    def damage(self, genomes: Genomes) -> Floats:
        """Wavelet aggregation lost, millinats, (P,)."""
        ...

    def seeds(self, settings: Settings, before: Genomes) -> Genomes:
        """Genomes to start from; ``before`` are those of the smaller search space before."""
        ...

    def kept(self, genome: Genomes) -> dict[str, tuple[int, ...]]:
        """Channels that one genome (genes,) keeps, by group name."""
        ...


@dataclass(frozen=True)
class WidthGenomes:
    """Levels on the width grids of some groups; the order says which channels stay.

    Attributes:
        problem: The network, its orders and grids.
        members: Indices of the groups, in genome order.
    """

    problem: Problem
    members: tuple[int, ...]

    @cached_property
    def encoding(self) -> Encoding:
        """Genomes of all groups by the wavelet criterion alone."""
        return Encoding(self.problem.space, (self.problem.criterion("wavelet"),))

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """The damage of each group at each level."""
        return sensitivity.measure(self.problem, self.encoding)

    @property
    def choices(self) -> list[int]:
        """Number of levels of each group."""
        return [len(self.problem.space.grids[member]) for member in self.members]

    def whole(self, genomes: Genomes) -> Genomes:
        """Canonical genomes of all groups, (P, 2 G)."""
        every = np.repeat(self.encoding.full[None], len(genomes), 0)
        every[:, self.members] = genomes
        return self.encoding.canonical(every)

    def widths(self, genomes: Genomes) -> Widths:
        """Widths of all groups, (P, G)."""
        return self.encoding.widths(self.whole(genomes))

    def damage(self, genomes: Genomes) -> Floats:
        """Summed damage of the widths and of the branches that are dropped, (P,)."""
        return self.sensitivity.losses(self.whole(genomes))

    def seeds(self, settings: Settings, before: Genomes) -> Genomes:
        """Those before with the new groups whole, then random levels."""
        tops = np.array(self.choices) - 1
        first = np.repeat(tops[None], max(len(before), 1), 0)
        first[: len(before), : before.shape[1]] = before
        generator = np.random.default_rng(settings.seed)
        drawn = generator.integers(0, tops + 1, (settings.population, len(tops)))
        return np.concatenate([first, tops[None], drawn])

    def kept(self, genome: Genomes) -> dict[str, tuple[int, ...]]:
        """Channels that one genome keeps."""
        return dict(self.encoding.plan(self.whole(genome[None])[0]).kept)


@dataclass(frozen=True)
class BitGenomes:
    """A bit for each channel of some groups, brought onto the width grids.

    Attributes:
        space: Groups and grids.
        interactions: Per group the damage of removed channels as a quadratic form, (C, C).
        saliencies: Per group the rank of each channel, (C,).
        drops: Per group its share in the damage of dropping its branch.
        members: Indices of the groups, in genome order.
    """

    space: PruningSpace
    interactions: tuple[Tensor, ...]
    saliencies: tuple[Tensor, ...]
    drops: tuple[float, ...]
    members: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem, members: tuple[int, ...]) -> "BitGenomes":
        """The bits of some groups of a problem, on the device that computes fastest."""
        device = best_device()
        widths = WidthGenomes(problem, members)
        return cls(
            problem.space,
            tuple((SCALE * form).float().to(device) for form in problem.interactions),
            tuple(saliency.to(device) for saliency in problem.criterion("wavelet")),
            tuple(widths.sensitivity.added[:, 0, 0].tolist()),
            members,
        )

    @property
    def choices(self) -> list[int]:
        """Two for each channel."""
        return [2] * sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [self.space.groups[member].width for member in self.members]

    def widths(self, genomes: Genomes) -> Widths:
        """Widths of all groups, (P, G)."""
        return self.masks(genomes)[1]

    @one_thread()
    def masks(self, genomes: Genomes) -> tuple[list[Tensor], Widths]:
        """Masks per member group, each (P, C), and the widths of all groups, (P, G)."""
        device = self.saliencies[0].device
        bits = torch.from_numpy(genomes).to(device).bool()
        widths = np.repeat(self.space.full[None], len(genomes), 0)
        masks = []
        for member, part in zip(self.members, torch.split(bits, self._sizes, 1), strict=True):
            mask, width = decode_bits(part, self.saliencies[member], self.space.grids[member])
            masks.append(mask)
            widths[:, member] = width.cpu().numpy()
        settled = self.space.settle(widths)  # an emptied group empties its branch
        for mask, member in zip(masks, self.members, strict=True):
            mask[torch.from_numpy(settled[:, member] < widths[:, member]).to(device)] = False
        return masks, settled

    def damage(self, genomes: Genomes) -> Floats:
        """Damage of the masks without compensation, and of dropped branches, (P,)."""
        return self.aggregation(self.masks(genomes)[0])

    @one_thread()
    def aggregation(self, masks: Sequence[Tensor]) -> Floats:
        """Damage of masks per member group, each (P, C), by one matrix product a group."""
        total = masks[0].new_zeros(len(masks[0]), dtype=torch.float32)
        for member, mask in zip(self.members, masks, strict=True):
            removed = (~mask).float()
            lost = ((removed @ self.interactions[member]) * removed).sum(1)
            if self.space.groups[member].droppable:
                dropped = ~mask.any(1)
                lost = torch.where(dropped, self.drops[member], lost)
            total += lost
        return total.double().cpu().numpy()

    def seeds(self, settings: Settings, before: Genomes) -> Genomes:
        """Those before with all new channels, and random strings of every density."""
        genes = len(self.choices)
        first = np.ones((max(len(before), 1), genes), np.int64)
        first[: len(before), : before.shape[1]] = before
        generator = np.random.default_rng(settings.seed)
        density = np.linspace(0.0, 1.0, max(settings.population, 2))[:, None]
        drawn = (generator.random((len(density), genes)) < density).astype(np.int64)
        return np.concatenate([first, drawn])

    def kept(self, genome: Genomes) -> dict[str, tuple[int, ...]]:
        """Channels that one genome keeps."""
        found = {group.name: tuple(range(group.width)) for group in self.space.groups}
        for member, mask in zip(self.members, self.masks(genome[None])[0], strict=True):
            found[self.space.groups[member].name] = tuple(mask[0].nonzero().flatten().tolist())
        return found


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
