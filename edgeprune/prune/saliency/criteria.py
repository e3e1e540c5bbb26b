"""Channel saliency by L1 norm of weights, BatchNorm scale, and first-order Taylor expansion.

References:
    H. Li et al., Pruning filters for efficient ConvNets, ICLR 2017 (L1).
    Z. Liu et al., Learning efficient convolutional networks through network slimming,
    ICCV 2017 (BatchNorm scale).
    P. Molchanov et al., Importance estimation for neural network pruning, CVPR 2019 (Taylor).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.tracing.producers import gates, makers
from edgeprune.prune.tracing.trace import ChannelGroup, Trace

TAYLOR_IMAGES = 512
_TAYLOR_BATCH = 32


def l1(trace: Trace) -> tuple[Tensor, ...]:
    """Mean absolute weight of each channel's filters, relative to the layer's mean.

    Where several layers make a channel (a residual stream) their relative values are averaged.

    Args:
        trace: The traced network.

    Returns:
        Saliencies per group, each (C,), float32, on the device of the weights.
    """
    return tuple(_l1(trace, group) for group in trace.groups)


def bn_gamma(trace: Trace) -> tuple[Tensor, ...]:
    """Mean absolute BatchNorm scale of each channel; :func:`l1` in groups without BatchNorm.

    Args:
        trace: The traced network.

    Returns:
        Saliencies per group, each (C,), float32, on the device of the weights.
    """
    return tuple(_bn_gamma(trace, group) for group in trace.groups)


def taylor(
    trace: Trace,
    images: Images,
    *,
    count: int = TAYLOR_IMAGES,
    seed: int = 0,
    device: torch.device | None = None,
) -> tuple[Tensor, ...]:
    """Squared first-order change of the loss if a channel is set to zero, mean over batches.

    The channel is cut where a layer makes it, right after its BatchNorm: the change is the
    gradient of the loss with respect to a mask of ones that the layer's output is multiplied by,
    summed over all layers that make the channel. So it is known whether or not the layer's
    parameters are frozen. BatchNorm runs on its stored statistics; with batch statistics the
    filters' own term would always be 0.

    Args:
        trace: The traced network.
        images: Labelled images.
        count: Number of images, chosen so that each class keeps its share.
        seed: Which ones.
        device: Where to compute; CUDA where there is one.

    Returns:
        Saliencies per group, each (C,), float32, on the CPU.
    """
    device = device or best_device()
    graph = copy.deepcopy(trace.graph).to(device).eval().requires_grad_(False)
    chosen = images.subset(stratified(images.labels, count, seed)).to(device)
    made = [_made(trace, group) for group in trace.groups]
    masks = {node.name: _ones(trace, node, device) for nodes in made for node in nodes}
    network = _Masked(graph, masks)
    totals = [torch.zeros(group.width, device=device) for group in trace.groups]
    batches = 0
    for pixels, labels in chosen.batches(_TAYLOR_BATCH):
        batches += 1
        loss = F.cross_entropy(network.run(pixels), labels)
        slopes = torch.autograd.grad(loss, list(masks.values()), materialize_grads=True)
        by_node = dict(zip(masks, slopes, strict=True))
        for index, nodes in enumerate(made):
            totals[index] += _change(trace, index, nodes, by_node).square()
    return tuple((total / batches).cpu() for total in totals)


class _Masked(fx.Interpreter):
    """Runs a graph with the outputs of some nodes multiplied by masks."""

    def __init__(self, graph: fx.GraphModule, masks: Mapping[str, Tensor]) -> None:
        super().__init__(graph)
        self._masks = masks

    def run_node(self, n: fx.Node) -> Any:
        """A node's value, multiplied by its mask where it has one."""
        value = super().run_node(n)
        return value * self._masks[n.name] if n.name in self._masks else value


def _made(trace: Trace, group: ChannelGroup) -> Sequence[fx.Node]:
    """Every call of a layer that makes channels of a group, before addition and ReLU."""
    layers = {producer.module for producer in gates(trace, group)}
    nodes = trace.graph.graph.nodes
    return [node for node in nodes if node.op == "call_module" and node.target in layers]


def _change(
    trace: Trace, index: int, nodes: Sequence[fx.Node], slopes: Mapping[str, Tensor]
) -> Tensor:
    """Change of the loss to first order as each channel of a group is cut, shape (C,)."""
    changes = []
    for node in nodes:
        layout, slope = trace.layouts[node], slopes[node.name].flatten()
        at = torch.from_numpy(layout.group == index).to(slope.device)
        member = torch.from_numpy(layout.member).to(slope.device)[at]
        # slope (positions,) -> change (C,): a channel may own several positions
        change = slope.new_zeros(trace.groups[index].width)
        changes.append(change.index_add_(0, member, slope[at]))
    return torch.stack(changes).sum(0)


def _ones(trace: Trace, node: fx.Node, device: torch.device) -> Tensor:
    """A mask of ones for the channels of a node's output, to be multiplied by it."""
    meta = node.meta["tensor_meta"]
    shape = [1] * len(meta.shape)
    shape[trace.layouts[node].axis] = -1
    ones = torch.ones(meta.shape[trace.layouts[node].axis], dtype=meta.dtype, device=device)
    return ones.view(shape).requires_grad_()


def _l1(trace: Trace, group: ChannelGroup) -> Tensor:
    relative = []
    for module, part in makers(trace.graph, group):
        weight = module.get_parameter("weight").detach()
        if weight.ndim > 1:
            size = weight.abs().movedim(part.axis, 0).flatten(1).mean(1)
            by_channel = size[torch.from_numpy(part.positions).to(size.device)].mean(1)
            relative.append(by_channel / by_channel.mean().clamp_min(1e-12))
    return torch.stack(relative).mean(0) if relative else torch.ones(group.width)


def _bn_gamma(trace: Trace, group: ChannelGroup) -> Tensor:
    scales = [
        module.get_parameter("weight").detach().abs()[torch.from_numpy(part.positions)].mean(1)
        for module, part in makers(trace.graph, group)
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    return torch.stack(scales).mean(0) if scales else _l1(trace, group)
