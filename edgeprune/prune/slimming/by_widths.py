"""Slims a network to widths or to a share of its channels, for a training loop of one's own."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.arrays import Ints
from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.saliency import criteria, surgeon
from edgeprune.prune.saliency.curvature import measure
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.slimming.served import ServedImages
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.space.selection import Selection, left_whole, refuse_unmatched
from edgeprune.prune.space.widths import PruningSpace, build
from edgeprune.prune.tracing.trace import ChannelGroup, Trace
from edgeprune.text import did_you_mean

OrderName = Literal["wavelet", "l1"]
GRID = 8  # channels; the vector kernels of onnxruntime work on blocks of 8 or 16


def slim_to(
    model: nn.Module,
    example: Tensor,
    widths: Mapping[str, int] | float,
    images: Tensor | None = None,
    order: OrderName | None = None,
    selection: Selection | None = None,
) -> nn.Module:
    """A slim copy of a network; see :func:`edgeprune.slim`.

    Args:
        model: The network; it is left as it is.
        example: An input (N, C, H, W).
        widths: Channels that stay by group name, or the share that stays of every group.
        images: What the wavelet order is measured on, (N, C, H, W) as the network takes them.
        order: Which order decides what stays; ``wavelet`` with images, else ``l1``.
        selection: Layers that stay whole, or that alone are pruned.

    Raises:
        InputError: a share, a name or a width that cannot be, or the wavelet without images.
    """
    selection = selection or Selection()
    refuse_unmatched(selection, model, type(model).__name__)
    order = order or ("l1" if images is None else "wavelet")
    if order not in ("wavelet", "l1"):
        raise InputError(f"unknown order {order!r}; it is wavelet or l1")
    traced = proven(rewrite_shortcuts(model), example)
    if not traced.groups:
        raise InputError("nothing of this network can be pruned; `edgeprune channels` says why")
    space = build(traced.groups, (GRID,), left_whole(traced, selection))
    counts = _by_name(space, widths) if isinstance(widths, Mapping) else _share(space, widths)
    ranked = _wavelet(traced, images) if order == "wavelet" else _l1(traced)
    kept = {
        group.name: tuple(sorted(channels[:count].tolist()))
        for group, channels, count in zip(traced.groups, ranked, counts, strict=True)
    }
    return slim(traced, PruningPlan(model=type(model).__name__, kept=kept))


def _share(space: PruningSpace, share: float) -> list[int]:
    """Width of every group at one share, rounded up to the grid; no branch is dropped."""
    if not 0 < share <= 1:
        raise InputError(f"ratio = {share:g} is no share of the channels, above 0 and at most 1")
    wanted = np.ceil(share * space.full).astype(np.int64)
    found: list[int] = space.snap(np.maximum(wanted, 1)[None])[0].tolist()
    return found


def _by_name(space: PruningSpace, widths: Mapping[str, int]) -> list[int]:
    """Width of every group; those not named stay whole."""
    names = [group.name for group in space.groups]
    for name in widths:
        if name not in names:
            hint = did_you_mean(name, names, otherwise="; `edgeprune channels` lists them")
            raise InputError(f"no channel group {name!r}{hint}")
    return [_width(group, space, widths.get(group.name, group.width)) for group in space.groups]


def _width(group: ChannelGroup, space: PruningSpace, width: int) -> int:
    if width < group.width and group.name in space.left.groups:
        raise InputError(f"group {group.name!r} stays whole: {space.left.groups[group.name]}")
    least = 0 if group.droppable else 1
    if not least <= width <= group.width:
        raise InputError(
            f"group {group.name!r} takes {least} to {group.width} channels, not {width}"
        )
    return width


def _l1(traced: Trace) -> list[Ints]:
    return [_descending(saliency) for saliency in criteria.l1(traced)]


def _descending(saliency: Tensor) -> Ints:
    found: Ints = saliency.argsort(descending=True, stable=True).cpu().numpy()
    return found


def _wavelet(traced: Trace, images: Tensor | None) -> list[Ints]:
    """Channels by the damage of their removal; by L1 where no layer with statistics reads them."""
    if images is None:
        raise InputError("the wavelet order is measured on images; pass images= or order='l1'")
    if images.ndim != 4 or len(images) < 2:
        raise InputError(f"images must be (N, C, H, W) with N >= 2, not {tuple(images.shape)}")
    with torch.no_grad():
        served = ServedImages(images.detach().float().cpu())
    found = surgeon.orders(measure(traced, served), traced.groups)
    return [
        order.channels if order else channels
        for order, channels in zip(found, _l1(traced), strict=True)
    ]
