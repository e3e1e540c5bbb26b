"""How salient is each channel by the classic rules: weights, BatchNorm scales, gradients?

References:
    H. Li et al., Pruning filters for efficient ConvNets, ICLR 2017 (L1).
    Z. Liu et al., Learning efficient convolutional networks through network slimming,
    ICCV 2017 (BatchNorm scale).
    P. Molchanov et al., Importance estimation for neural network pruning, CVPR 2019 (Taylor).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.tracing.producers import Producer, producers, producing_layers
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

    A channel is cut right after its BatchNorm: the change is scale times its gradient plus
    shift times its gradient, summed over all layers that make the channel. BatchNorm runs on
    its stored statistics; with batch statistics the filters' own term would always be 0.

    Args:
        trace: The traced network.
        images: Labelled images.
        count: How many of them, chosen so that each class keeps its share.
        seed: Which ones.
        device: Where to compute; CUDA where there is one.

    Returns:
        Saliencies per group, each (C,), float32, on the CPU.
    """
    device = device or best_device()
    graph = copy.deepcopy(trace.graph).to(device).eval()
    chosen = images.subset(stratified(images.labels, count, seed)).to(device)
    found = [producers(trace, group) for group in trace.groups]
    batches = 0
    totals = [torch.zeros(group.width, device=device) for group in trace.groups]
    for pixels, labels in chosen.batches(_TAYLOR_BATCH):
        batches += 1
        graph.zero_grad(set_to_none=True)
        torch.autograd.backward(F.cross_entropy(graph(pixels), labels))
        for total, of_group in zip(totals, found, strict=True):
            # A layer that is called twice has two producers and one gradient.
            cuts = {producer.module: _cut(graph, producer) for producer in of_group}
            total += torch.stack(list(cuts.values())).sum(0).square()
    return tuple((total / batches).cpu() for total in totals)


def _l1(trace: Trace, group: ChannelGroup) -> Tensor:
    relative = []
    for module, part in producing_layers(trace.graph, group):
        weight = module.get_parameter("weight").detach()
        if weight.ndim > 1:
            size = weight.abs().movedim(part.axis, 0).flatten(1).mean(1)
            by_channel = size[torch.from_numpy(part.positions).to(size.device)].mean(1)
            relative.append(by_channel / by_channel.mean().clamp_min(1e-12))
    return torch.stack(relative).mean(0) if relative else torch.ones(group.width)


def _bn_gamma(trace: Trace, group: ChannelGroup) -> Tensor:
    scales = [
        module.get_parameter("weight").detach().abs()[torch.from_numpy(part.positions)].mean(1)
        for module, part in producing_layers(trace.graph, group)
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    return torch.stack(scales).mean(0) if scales else _l1(trace, group)


def _cut(graph: nn.Module, producer: Producer) -> Tensor:
    """Change of the loss, to first order, if each channel's scale and shift were 0; (C,)."""
    changes = [
        (parameter * parameter.grad).detach().flatten(1).sum(1)
        if parameter.ndim > 1
        else (parameter * parameter.grad).detach()
        for parameter in graph.get_submodule(producer.module).parameters(recurse=False)
        if parameter.grad is not None
    ]
    by_position = torch.stack(changes).sum(0)
    return by_position[producer.positions.to(by_position.device)].sum(1)
