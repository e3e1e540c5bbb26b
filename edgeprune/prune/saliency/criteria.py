"""Channel saliency by L1 norm of weights, BatchNorm scale, and first-order Taylor expansion.

References:
    H. Li et al., Pruning filters for efficient ConvNets, ICLR 2017 (L1).
    Z. Liu et al., Learning efficient convolutional networks through network slimming,
    ICCV 2017 (BatchNorm scale).
    P. Molchanov et al., Importance estimation for neural network pruning, CVPR 2019 (Taylor).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.outputs import first
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.tracing.producers import producers, producing_layers
from edgeprune.prune.tracing.trace import ChannelGroup, Trace

TAYLOR_IMAGES = 512
_TAYLOR_BATCH = 32  # the squared mean over a batch: larger ones average the signal away


def l1(trace: Trace) -> tuple[Tensor, ...]:
    """Mean absolute weight of each channel's filters, relative to the layer's mean.

    Where several layers make a channel (a residual stream) their relative values are averaged.
    Saliencies per group, each (C,), float32, on the device of the weights.
    """
    return tuple(_l1(trace, group) for group in trace.groups)


def bn_gamma(trace: Trace) -> tuple[Tensor, ...]:
    """Mean absolute BatchNorm scale of each channel, as :func:`l1`, which serves where none is."""
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
        seed: Seed of their choice.
        device: Where to compute; CUDA where there is one.

    Returns:
        Saliencies per group, each (C,), float32, on the CPU.
    """
    device = device or best_device()
    graph = copy.deepcopy(trace.graph).to(device).eval().requires_grad_(False)
    chosen = images.subset(stratified(images.labels, count, seed)).to(device)
    # A layer that is called twice makes the channels at two nodes, and has one mask.
    made = [{at.module: at for at in producers(trace, group)} for group in trace.groups]
    nodes = {name: at.node for by_layer in made for name, at in by_layer.items()}
    masks = [_mask(graph.get_submodule(name), node, trace) for name, node in nodes.items()]
    totals = [torch.zeros(group.width, device=device) for group in trace.groups]
    batches = 0
    for pixels, labels in chosen.batches(_TAYLOR_BATCH):
        batches += 1
        loss = F.cross_entropy(first(graph(pixels)), labels)
        found = torch.autograd.grad(loss, masks, materialize_grads=True)
        slopes = {name: slope.flatten() for name, slope in zip(nodes, found, strict=True)}
        for total, by_layer in zip(totals, made, strict=True):
            # slope (positions,) -> (C, several) -> (C,): a channel may own several positions
            cuts = [slopes[name][at.positions].sum(1) for name, at in by_layer.items()]
            total += torch.stack(cuts).sum(0).square()
    return tuple((total / batches).cpu() for total in totals)


def _mask(layer: nn.Module, node: fx.Node, trace: Trace) -> Tensor:
    """Ones by which a layer's output is multiplied from now on, channel by channel."""
    meta, axis = node.meta["tensor_meta"], trace.layouts[node].axis
    shape = [1] * len(meta.shape)
    shape[axis] = meta.shape[axis]
    device = next(layer.parameters()).device
    mask = torch.ones(shape, dtype=meta.dtype, device=device, requires_grad=True)
    layer.register_forward_hook(lambda layer, inputs, output: output * mask)
    return mask


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
