"""Ridge regression of one layer's weights on its inputs and wanted outputs, in closed form."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RIDGE = 0.1  # of the mean diagonal of the Gram matrix; 0.01 was no better
THIN = 8  # every eighth output position enters the sums; neighbours say nearly the same
_BYTES = 2**28  # of unfolded inputs held at once


class Fitted(NamedTuple):
    """Mean and standard deviation of a layer's target and fitted output, each (O,)."""

    mean: Tensor
    deviation: Tensor


def fit(layer: Any, inputs: Tensor, wanted: Tensor) -> Fitted:
    """Solve for the weights of one layer, in place.

    Args:
        layer: A 2-D convolution, grouped or not, or a linear layer.
        inputs: What it reads in the slim network, batch first.
        wanted: What it has to return, batch first, in the layer's own output layout.
    """
    groups = getattr(layer, "groups", 1)
    weight = layer.weight
    d = weight[0].numel()
    sums = _Sums(groups, d, weight.shape[0] // groups, weight.device)
    chunk = max(1, _BYTES // (4 * max(1, inputs[0].numel() * d // weight.shape[1])))
    for start in range(0, len(inputs), chunk):
        sums.add(*_columns(layer, inputs[start : start + chunk], wanted[start : start + chunk]))
    solved, mean_in, mean_out = sums.solved(weight.double().view(groups, -1, d))
    weight.copy_(solved.reshape(weight.shape))
    if layer.bias is not None:
        shift = mean_out - (solved @ mean_in[..., None])[..., 0]  # (groups, O/groups)
        layer.bias.copy_(shift.flatten())
    return Fitted(mean_out.flatten(), sums.deviation(solved).flatten())


def _columns(layer: Any, inputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Thinned samples of inputs (groups, d, S) and targets (groups, O/groups, S)."""
    if isinstance(layer, nn.Linear):
        u, y = inputs.reshape(-1, inputs.shape[-1]).T, wanted.reshape(-1, wanted.shape[-1]).T
        return u[None], y[None]
    unfolded = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    outputs = wanted.flatten(2)
    step = THIN if outputs.shape[2] >= 2 * THIN else 1
    # Another offset for every image, so that all positions are seen.
    rows = torch.arange(outputs.shape[2], device=inputs.device)
    u = torch.cat([image[:, rows[i % step :: step]] for i, image in enumerate(unfolded)], 1)
    y = torch.cat([image[:, rows[i % step :: step]] for i, image in enumerate(outputs)], 1)
    return u.view(layer.groups, -1, u.shape[1]), y.view(layer.groups, -1, y.shape[1])


class _Sums:
    """Second moments of inputs (d) and targets (o) of each of g groups, in float64."""

    def __init__(self, g: int, d: int, o: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self._count = 0
        self._u, self._y = zeros(g, d), zeros(g, o)
        self._uu, self._yu = zeros(g, d, d), zeros(g, o, d)

    def add(self, u: Tensor, y: Tensor) -> None:
        """Add S samples: u (g, d, S), y (g, o, S)."""
        self._count += u.shape[2]
        self._u += u.double().sum(2)
        self._y += y.double().sum(2)
        # Products in float32, sums over chunks in float64.
        self._uu += (u @ u.mT).double()
        self._yu += (y @ u.mT).double()

    def solved(self, old: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """New weights (g, o, d), mean input (g, d) and mean target (g, o)."""
        mean_u, mean_y = self._u / self._count, self._y / self._count
        gram = self._centred()
        cross = self._yu / self._count - mean_y[:, :, None] * mean_u[:, None]  # (g, o, d)
        ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)[:, None, None]
        regular = gram + ridge * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        solved = torch.linalg.solve(regular, (cross + ridge * old).mT).mT
        return solved, mean_u, mean_y

    def deviation(self, weight: Tensor) -> Tensor:
        """Standard deviation of what these weights (g, o, d) return, (g, o)."""
        variance = ((weight @ self._centred()) * weight).sum(2)
        return variance.clamp(min=0).sqrt()

    def _centred(self) -> Tensor:
        mean = self._u / self._count
        return self._uu / self._count - mean[:, :, None] * mean[:, None]
