"""Coupling of channels that must be pruned together: a union-find over channel ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgeprune.arrays import Ints

FIXED = 0
"""The id of every channel that may never be pruned."""


class Coupling:
    """Classes of channel ids; the class of id 0 is the one that is never pruned."""

    def __init__(self) -> None:
        self._parent: list[int] = [FIXED]

    def fresh(self, count: int) -> Ints:
        """New ids, shape (count,), each a class of its own; a single channel is fixed.

        A tensor with one channel cannot lose it, and broadcasts where others do not, so a
        class of its own would only invite mistakes.
        """
        if count == 1:
            return np.zeros(1, np.int64)
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def __len__(self) -> int:
        """Number of ids so far, the fixed one included."""
        return len(self._parent)

    def root(self, channel: int) -> int:
        """Find the smallest id of the class of ``channel``, hence 0 for fixed channels."""
        parent = self._parent
        while parent[channel] != channel:
            parent[channel] = parent[parent[channel]]  # path halving: later look-ups are short
            channel = parent[channel]
        return channel

    def roots(self, ids: Ints) -> Ints:
        """The root of every id, in the shape of ``ids``."""
        flat, back = np.unique(ids, return_inverse=True)
        found = np.fromiter((self.root(int(i)) for i in flat), np.int64, len(flat))
        return found[back.reshape(ids.shape)]

    def join(self, left: Ints, right: Ints) -> None:
        """Put ``left[i]`` and ``right[i]`` into one class, for every i; shapes broadcast."""
        pair = np.broadcast_arrays(left, right)
        differ = pair[0] != pair[1]
        if not differ.any():
            return
        for a, b in np.unique(np.stack([pair[0][differ], pair[1][differ]], 1), axis=0):
            first, second = self.root(int(a)), self.root(int(b))
            # The smaller id wins, so that the class of FIXED keeps the root 0.
            self._parent[max(first, second)] = min(first, second)

    def freeze(self, ids: Ints) -> None:
        """Never prune any channel of ``ids``."""
        self.join(ids, np.zeros(1, np.int64))


@dataclass(frozen=True)
class Flow:
    """Where the channels of one tensor lie.

    Attributes:
        shape: Shape of the tensor.
        axis: The axis along which channel ids differ; None where nothing can be pruned.
        ids: Channel ids along that axis, shape (shape[axis],); empty without an axis.
        held: Name of the parameter or buffer that this tensor is, if it is one.
    """

    shape: tuple[int, ...]
    axis: int | None
    ids: Ints
    held: str | None = None

    def along(self, axis: int) -> Ints:
        """Ids along ``axis``: the channels' own, or fixed ones where no channel lies."""
        if axis == self.axis:
            return self.ids
        return np.zeros(self.shape[axis], np.int64)

    def spread(self) -> Tensor:
        """The channel id of every element, an int64 tensor of this shape without copies."""
        if self.axis is None:
            return torch.zeros(1, dtype=torch.int64).expand(self.shape)
        view = [1] * len(self.shape)
        view[self.axis] = -1
        return torch.from_numpy(self.ids).view(view).expand(self.shape)


def fixed(shape: Sequence[int], held: str | None = None) -> Flow:
    """A tensor none of whose channels can be pruned."""
    return Flow(tuple(shape), None, np.empty(0, np.int64), held)


def settle(spread: Tensor, coupling: Coupling, prefer: Sequence[int] = ()) -> Flow:
    """Read a tensor of channel ids back into a flow with one channel axis.

    A view that splits the channel axis makes ids differ along several axes. What is kept must
    then be a full box, so one of these axes stays prunable and the channels that share a
    position on it are joined: the first of ``prefer`` if it is among them, else the longest.
    """
    axes = [d for d in range(spread.ndim) if _varies(spread, d)]
    shape = tuple(spread.shape)
    if not axes:
        if spread.numel():
            coupling.freeze(spread.reshape(-1)[:1].numpy())
        return fixed(shape)
    axis = next((d for d in prefer if d in axes), max(axes, key=lambda d: shape[d]))
    for d in range(spread.ndim):
        if d not in axes:
            spread = spread.narrow(d, 0, 1)
    table = spread.movedim(axis, 0).reshape(shape[axis], -1).numpy()  # (positions, ids on each)
    coupling.join(table[:, :1], table)
    return Flow(shape, axis, np.ascontiguousarray(table[:, 0]))


def _varies(spread: Tensor, axis: int) -> bool:
    if spread.shape[axis] < 2 or spread.stride(axis) == 0:
        return False
    return not bool((spread == spread.narrow(axis, 0, 1)).all())
