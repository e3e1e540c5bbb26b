"""Fold of removed channels into those that stay, from statistics gathered once.

Each layer that reads a narrowed group takes over what the removed channels sent it, as far as that
is a linear function of the channels that stay::

    W_K' = W_K + W_R A,    A = G_RK (G_KK + eps I)^-1

over all groups that it reads together. A bias takes the means along; where none is, BatchNorm
has to be recalibrated.

References:
    Y. He, X. Zhang, J. Sun, Channel pruning for accelerating very deep neural networks, and
    J.-H. Luo, J. Wu, W. Lin, ThiNet, both ICCV 2017. The weighting by wavelet bands is our
    reconstruction (saliency/curvature.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgeprune.arrays import Bools
from edgeprune.prune.saliency.curvature import Curvature, Statistics
from edgeprune.prune.saliency.ports import Port, reader
from edgeprune.prune.saliency.surgeon import regular
from edgeprune.prune.slimming.rewriting import Kept
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.tracing.trace import Trace


@dataclass(frozen=True)
class Folding:
    """Slims with the fold.

    Attributes:
        trace: The dense network.
        curvature: Statistics of its ports.
    """

    trace: Trace
    curvature: Curvature

    @property
    def left(self) -> Mapping[str, str]:
        """Layers that keep their weights whatever they read, with the reason."""
        return self.curvature.left

    def slim(self, plan: PruningPlan) -> nn.Module:
        """The slim network with removed channels folded; its BatchNorm is to be recalibrated.

        Layers all of whose inputs stay keep their very weights.
        """
        network = slim(self.trace, plan)
        if not isinstance(network, fx.GraphModule):
            return network
        kept = Kept(self.trace, check(plan, self.trace.groups))
        present = {str(node.target) for node in network.graph.nodes if node.op == "call_module"}
        with torch.no_grad():
            for port in self.curvature.ports:
                if port.name in present:
                    self._fold(network.get_submodule(port.name), port, kept)
        return network

    def _fold(self, layer: Any, port: Port, kept: Kept) -> None:
        stay = _rows_that_stay(self.trace, port, kept)
        if stay.all():
            return
        dense: Any = reader(self.trace.graph, port.node)
        statistics = self.curvature.statistics[port.node.name]
        weight, shift = _folded(dense, port, statistics, stay)
        layer.weight.copy_(self._sliced(weight, f"{port.name}.weight", kept))
        if layer.bias is not None:
            bias = dense.bias.detach().cpu().double() + shift
            layer.bias.copy_(self._sliced(bias, f"{port.name}.bias", kept))

    def _sliced(self, dense: Tensor, name: str, kept: Kept) -> Tensor:
        """What stays of a tensor as large as the dense layer's."""
        for axis in range(min(dense.ndim, 2)):
            layout = self.trace.tensors.get((name, axis))
            if layout is not None:
                at = np.flatnonzero(kept.positions(layout))
                dense = dense.index_select(axis, torch.from_numpy(at))
        return dense


def _rows_that_stay(trace: Trace, port: Port, kept: Kept) -> Bools:
    """Which rows of the unfolded input stay, (D,)."""
    _, positions = kept.of(port.sources[0])  # of the channels that the layer reads
    return np.repeat(positions, len(port.group) // len(positions))


def _folded(dense: Any, port: Port, statistics: Statistics, stay: Bools) -> tuple[Tensor, Tensor]:
    """Weight of the dense layer's shape and shift of its outputs (O,), both float64."""
    shape = dense.weight.shape
    flat = dense.weight.detach().cpu().double().flatten(1).clone()  # (O, C / groups * taps)
    shift = torch.zeros(len(flat), dtype=torch.float64)
    for part, gram in zip(port.parts, statistics.grams, strict=True):
        here = torch.from_numpy(stay[part.rows])
        if here.all():
            continue
        full = regular(gram)
        across = full[here][:, ~here]  # (K, R)
        factor = torch.linalg.cholesky(full[here][:, here])
        carried = torch.cholesky_solve(across, factor)  # (K, R): A transposed
        gain = part.weight[:, ~here] @ carried.T  # (o, K)
        outputs = torch.from_numpy(part.outputs)
        # Rows of a grouped convolution count on through its groups, columns begin anew.
        columns = torch.from_numpy(part.rows % flat.shape[1])[here]
        flat[outputs[:, None], columns] += gain
        mean = statistics.mean[torch.from_numpy(part.rows)]
        shift[outputs] += part.weight[:, ~here] @ mean[~here] - gain @ mean[here]
    return flat.view(shape), shift
