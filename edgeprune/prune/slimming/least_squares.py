"""Ridge regression of one layer's weights on its inputs and wanted outputs, in closed form."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RIDGE = 0.1  # of the mean diagonal of the Gram matrix; 0.01 was no better
THIN = 8  # every eighth output position enters the sums; neighbours say nearly the same
WIDEST = 4608  # 512 channels of 3 x 3: a Gram matrix of 170 MB; wider inputs take the dual form
SAMPLES = 4096  # of the dual form, whose matrix is as large as they are many
_BYTES = 2**28  # of unfolded inputs held at once


class Fitted(NamedTuple):
    """Mean of a layer's target and standard deviation of its fitted output, each (O,)."""

    mean: Tensor
    deviation: Tensor


def fit(layer: Any, inputs: Tensor, wanted: Tensor) -> Fitted | None:
    """Solve for the weights of one layer, in place.

    Args:
        layer: A 2-D convolution, grouped or not, or a linear layer.
        inputs: What it reads in the slim network, batch first.
        wanted: What it has to return, batch first, in the layer's own output layout.

    Returns:
        Statistics of the target and of the fit; None, with the layer as it was, where a number
        is not finite.
    """
    groups, weight = getattr(layer, "groups", 1), layer.weight
    old = weight.double().view(groups, -1, weight[0].numel())  # (g, o, d)
    positions = 1 if isinstance(layer, nn.Linear) else wanted[0, 0].numel()
    samples = len(inputs) * max(1, positions // THIN)
    if old.shape[2] <= min(WIDEST, samples):
        solution = _primal(old, _columns(layer, inputs, wanted, THIN))
    else:
        thin = max(1, math.ceil(len(inputs) * positions / SAMPLES))
        solution = _dual(old, _columns(layer, inputs, wanted, thin))
    if not all(bool(part.isfinite().all()) for part in solution):
        return None
    solved, mean_u, mean_y, deviation = solution
    weight.copy_(solved.reshape(weight.shape))
    if layer.bias is not None:
        layer.bias.copy_((mean_y - (solved @ mean_u[..., None])[..., 0]).flatten())
    return Fitted(mean_y.flatten(), deviation.flatten())


Columns = Iterator[tuple[Tensor, Tensor]]
Solution = tuple[Tensor, Tensor, Tensor, Tensor]
"""Weights (g, o, d), mean input (g, d), mean target (g, o), deviation of the output (g, o)."""


def _primal(old: Tensor, columns: Columns) -> Solution:
    """By the Gram matrix of the inputs, (d, d): ``(Y U' + eps W) (U U' + eps I)^-1``."""
    g, o, d = old.shape
    sum_u, sum_y, uu, yu = (old.new_zeros(*s) for s in ((g, d), (g, o), (g, d, d), (g, o, d)))
    count = 0
    for u, y in columns:  # (g, d, S), (g, o, S); products in float32, their sums in float64
        count += u.shape[2]
        sum_u += u.double().sum(2)
        sum_y += y.double().sum(2)
        uu += (u @ u.mT).double()
        yu += (y @ u.mT).double()
    mean_u, mean_y = sum_u / count, sum_y / count
    gram = uu / count - mean_u[:, :, None] * mean_u[:, None]
    cross = yu / count - mean_y[:, :, None] * mean_u[:, None]
    ridge = _ridge(gram.diagonal(dim1=1, dim2=2).mean(1))
    regular = gram + ridge * torch.eye(d, dtype=gram.dtype, device=gram.device)
    # The sums of what is no number have no factors: the caller sees it.
    solved = torch.linalg.solve_ex(regular, (cross + ridge * old).mT)[0].mT
    variance = ((solved @ gram) * solved).sum(2)
    return solved, mean_u, mean_y, variance.clamp(min=0).sqrt()


def _dual(old: Tensor, columns: Columns) -> Solution:
    """By the samples' own products, (S, S): ``W + (Y - W U) (U' U + eps I)^-1 U'``."""
    parts = list(columns)
    u = torch.cat([u for u, _ in parts], 2)[:, :, :SAMPLES].double()  # (g, d, S)
    y = torch.cat([y for _, y in parts], 2)[:, :, :SAMPLES].double()  # (g, o, S)
    mean_u, mean_y = u.mean(2), y.mean(2)
    u, y = u - mean_u[..., None], y - mean_y[..., None]
    count = u.shape[2]
    ridge = count * _ridge(u.square().mean((1, 2)))
    kernel = u.mT @ u + ridge * torch.eye(count, dtype=u.dtype, device=u.device)
    change = torch.linalg.solve_ex(kernel, (y - old @ u).mT)[0].mT @ u.mT
    solved = old + change
    return solved, mean_u, mean_y, (solved @ u).square().mean(2).sqrt()


def _ridge(mean_diagonal: Tensor) -> Tensor:
    return RIDGE * mean_diagonal.clamp(min=1e-12)[:, None, None]  # (g, 1, 1)


def _columns(layer: Any, inputs: Tensor, wanted: Tensor, thin: int) -> Columns:
    """Samples of inputs (g, d, S) and targets (g, o, S), a few images at a time."""
    if isinstance(layer, nn.Linear):
        u, y = inputs.reshape(-1, inputs.shape[-1]).T, wanted.reshape(-1, wanted.shape[-1]).T
        yield u[None], y[None]
        return
    rows = torch.arange(wanted[0, 0].numel(), device=inputs.device)
    step = thin if len(rows) >= 2 * thin else 1
    size = inputs[0].numel() * math.prod(layer.kernel_size)  # at least what one image unfolds to
    chunk = max(1, _BYTES // (4 * size))
    for start in range(0, len(inputs), chunk):
        images, outputs = inputs[start : start + chunk], wanted[start : start + chunk].flatten(2)
        unfolded = F.unfold(images, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        # Another offset for every image, so that all positions are seen.
        chosen = [rows[(start + i) % step :: step] for i in range(len(images))]
        u = torch.cat([image[:, at] for image, at in zip(unfolded, chosen, strict=True)], 1)
        y = torch.cat([image[:, at] for image, at in zip(outputs, chosen, strict=True)], 1)
        yield u.view(layer.groups, -1, u.shape[1]), y.view(layer.groups, -1, y.shape[1])
