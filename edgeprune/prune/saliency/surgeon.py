"""Order and damage of channels by optimal brain surgery on the statistics of their ports.

Damage is the second-order rise of the divergence from the dense network when channels are removed
and those that stay take their part over as well as they linearly can::

    F(R) = 1/2 sum u_o w_R' [G_RR - G_RK (G_KK + eps I)^-1 G_KR] w_R

summed over the ports that read the group and over their outputs o.

References:
    B. Hassibi, D. Stork, Second order derivatives for network pruning: optimal brain surgeon,
    NIPS 1993. The blocks of all taps of a channel, and the sum over ports, are our reconstruction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgeprune.arrays import Bools, Floats, Ints
from edgeprune.prune.models.placement import one_thread
from edgeprune.prune.saliency.curvature import Curvature
from edgeprune.prune.saliency.ports import Part, Port
from edgeprune.prune.tracing.trace import ChannelGroup

RIDGE = 1e-2  # of the mean diagonal of a Gram matrix


@dataclass(frozen=True)
class Order:
    """The channels of one group by what they are worth.

    Attributes:
        channels: Most valuable first, shape (C,), int64.
        damage: Damage with only the first w of them kept, for w = 0 .. C, shape (C + 1,);
            0 for w = C, never rising.
    """

    channels: Ints
    damage: Floats

    @cached_property
    def saliency(self) -> Tensor:
        """Ranks from 1 for the least channel to C, so that no two are equal, (C,), float32."""
        found = torch.empty(len(self.channels))
        found[torch.from_numpy(self.channels)] = torch.arange(len(self.channels), 0, -1.0)
        return found


@dataclass
class _Block:
    """One part of one port while the channels of a group are removed from it.

    Attributes:
        weight: Weight left, (o, d).
        inverse: Inverse of the Gram matrix of the rows left, (d, d).
        fisher: Fisher weight of the outputs, (o,).
        rows: Rows of each channel of the group, (C, k); all channels own equally many.
    """

    weight: Tensor
    inverse: Tensor
    fisher: Tensor
    rows: Tensor

    def scores(self) -> Tensor:
        """Damage of removing each channel alone from what is left, (C,)."""
        k = self.rows.shape[1]
        own = self.inverse[self.rows[:, :, None], self.rows[:, None, :]]  # (C, k, k)
        weight = self.weight[:, self.rows]  # (o, C, k)
        scaled = weight * self.fisher[:, None, None]
        outer = torch.einsum("ock,ocl->ckl", scaled, weight)
        # Channels that are gone have rows of zeros: the identity stands in, their weight is 0.
        gone = own.diagonal(dim1=1, dim2=2).sum(1) == 0
        own[gone] = torch.eye(k, dtype=own.dtype)
        traces: Tensor = torch.linalg.solve(own, outer).diagonal(dim1=1, dim2=2).sum(1)
        return 0.5 * traces

    def remove(self, channel: int) -> None:
        """Remove a channel; the rows left take over what they can of it."""
        gone = self.rows[channel]
        across = self.inverse[gone]  # (k, d)
        carried = torch.linalg.solve(across[:, gone], across)  # H_cc^-1 H_c,:
        self.weight -= self.weight[:, gone] @ carried
        self.inverse -= across.T @ carried
        self.weight[:, gone] = 0
        self.inverse[gone] = 0
        self.inverse[:, gone] = 0


def orders(curvature: Curvature, groups: Sequence[ChannelGroup]) -> tuple[Order | None, ...]:
    """The order of every group; None where no port reads it.

    Greedy: of the channels left, the one whose removal does the least damage goes next. The
    running sum is the damage by width.
    """
    return tuple(_order(curvature, index, group.width) for index, group in enumerate(groups))


def unread(saliency: Tensor, price: float) -> Order:
    """An order by saliency (C,), each channel at the same price."""
    channels = saliency.argsort(descending=True, stable=True).cpu().numpy()
    return Order(channels, price * np.arange(len(channels), -1.0, -1.0))


@one_thread()
def _order(curvature: Curvature, index: int, width: int) -> Order | None:
    blocks = [
        _Block(
            weight=read.part.weight.clone(),
            inverse=torch.linalg.inv(regular(read.gram)),
            fisher=read.fisher,
            rows=read.rows,
        )
        for read in _readings(curvature, index)
    ]
    if not blocks:
        return None
    damage = np.zeros(width + 1)
    left, removed = torch.ones(width, dtype=torch.bool), list[int]()
    for kept in range(width - 1, -1, -1):
        scores = torch.stack([block.scores() for block in blocks]).sum(0)
        scores[~left] = torch.inf
        worst = int(scores.argmin())
        damage[kept] = damage[kept + 1] + max(float(scores[worst]), 0.0)
        left[worst] = False
        removed.append(worst)
        for block in blocks:
            block.remove(worst)
    return Order(np.array(removed[::-1]), damage)


class _Reading(NamedTuple):
    """One part of a port that reads a group.

    Attributes:
        part: The part.
        gram: Gram matrix of its rows, (d, d).
        fisher: Fisher weight of its outputs, (o,).
        rows: Places within it of the rows of each channel of the group, (C, k).
    """

    part: Part
    gram: Tensor
    fisher: Tensor
    rows: Tensor


def _readings(curvature: Curvature, index: int) -> Iterator[_Reading]:
    """Every part of every port that reads a group."""
    for port in curvature.ports:
        statistics = curvature.statistics[port.node.name]
        for part, gram in zip(port.parts, statistics.grams, strict=True):
            rows = rows_of(port, part, index)
            if rows is not None:
                fisher = statistics.fisher[torch.from_numpy(part.outputs)]
                yield _Reading(part, gram, fisher, rows)


def rows_of(port: Port, part: Part, index: int) -> Tensor | None:
    """Places within a part of the rows of each channel of a group, (C, k); None for no rows."""
    places = np.flatnonzero(port.group[part.rows] == index)
    if not len(places):
        return None
    members = port.member[part.rows[places]]
    places = places[np.argsort(members, kind="stable")]
    return torch.from_numpy(places.reshape(len(np.unique(members)), -1))


def regular(gram: Tensor) -> Tensor:
    """A Gram matrix with a ridge that makes it invertible."""
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    return gram + ridge * torch.eye(len(gram), dtype=gram.dtype)


@one_thread()
def damage(curvature: Curvature, index: int, kept: Bools) -> float:
    """Damage of keeping only some channels (C,) of one group, by the Schur complement."""
    total = 0.0
    for read in _readings(curvature, index):
        gone = read.rows[torch.from_numpy(~kept)].flatten()
        total += _schur(regular(read.gram), read.part.weight, read.fisher, gone)
    return total


def drop_damages(curvature: Curvature) -> dict[str, float]:
    """By branch the damage of dropping it whole: what the other side cannot linearly rebuild.

    Our reconstruction: the formula above at the addition, which reads both sides with the
    weight 1. There is no ridge on what goes, so that a branch that is a linear function of the
    other side costs next to nothing.
    """
    found = {}
    for port in curvature.additions:
        statistics = curvature.statistics[port.node.name]
        (part,), (gram,) = port.parts, statistics.grams
        gone = torch.from_numpy(np.flatnonzero(port.group == 0))
        ridge = regular(gram)
        ridge[gone, gone] = gram[gone, gone]
        found[port.name] = _schur(ridge, part.weight, statistics.fisher, gone)
    return found


def _schur(gram: Tensor, weight: Tensor, fisher: Tensor, gone: Tensor) -> float:
    """``1/2 sum u_o w_R' [G_RR - G_RK G_KK^-1 G_KR] w_R`` of a regular Gram matrix."""
    if not len(gone):
        return 0.0
    stay = torch.ones(len(gram), dtype=torch.bool)
    stay[gone] = False
    across = gram[stay][:, gone]  # (K, R)
    rest = gram[gone][:, gone] - across.T @ torch.linalg.solve(gram[stay][:, stay], across)
    lost = weight[:, gone]  # (o, R)
    quadratic = ((lost @ rest) * lost).sum(1).clamp_min(0)
    return float(0.5 * (fisher * quadratic).sum())


def interactions(curvature: Curvature, index: int, width: int) -> Tensor:
    """Damage without compensation as a quadratic form: m' X m for removed channels m, (C, C).

    A population of masks (P, C) is scored by one matrix product, ``((m @ X) * m).sum(1)``.
    """
    total = torch.zeros(width, width, dtype=torch.float64)
    for read in _readings(curvature, index):
        rows = read.rows.flatten()
        weight = read.part.weight[:, rows]  # (o, C * k)
        both = (weight.T * read.fisher) @ weight * read.gram[rows][:, rows]
        total += 0.5 * both.view(width, read.rows.shape[1], width, -1).sum((1, 3))
    return total
