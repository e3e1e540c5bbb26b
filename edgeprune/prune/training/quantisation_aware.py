"""Quantisation-aware distillation: trains a network under the rounding of its int8 file."""

import copy
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.images.held import Images
from edgeprune.prune.training.loop import Setting, train_in
from edgeprune.prune.training.recipe import Recipe

STEPS = 200
# Of the recovery's learning rate: BatchNorm stands still, and a tenth diverges on a ResNet-20.
SHARE_OF_RATE = 0.01
# torch would round a mean at the scale of what it averages; the file has a scale of its own for
# it, which what reads it brings along.
_POOLINGS = nn.AdaptiveAvgPool2d, nn.functional.adaptive_avg_pool2d, torch.mean, "mean"


@dataclass(frozen=True)
class Rounding:
    """The number formats that a network is trained under.

    Attributes:
        calibration: Images (1, C, H, W) whose extremes are the ranges of activations.
        weight_bits: 8, or 7 where 8 overflow.
        signed: Whether activations are int8 rather than uint8.
    """

    calibration: Sequence[Tensor]
    weight_bits: int = 8
    signed: bool = False


def train_rounded(
    network: nn.Module,
    images: Images,
    rounding: Rounding,
    recipe: Recipe,
    setting: Setting,
) -> nn.Module:
    """Distil a network while its weights and activations are rounded as in its int8 file.

    torch's own quantiser puts fake quantisation where onnxruntime's quantises: weights
    symmetrically with one scale a channel, BatchNorm folded; activations over the extremes on the
    calibration images. Gradients pass straight through (Jacob et al., Quantization and training
    of neural networks for efficient integer-arithmetic-only inference, CVPR 2018). BatchNorm's
    statistics stay; the length and the share of the learning rate are our reconstruction.

    Args:
        network: fp32, as it was fine-tuned; left as it is.
        images: Training images.
        rounding: Number formats.
        recipe: Of the recovery; its learning rate, steps and average are replaced.
        setting: Teacher, processes, progress.

    Returns:
        The same network, same layers and names, with other weights.

    Raises:
        InputError: a network whose graph is not known.
        MachineError: this torch has no quantiser, or it does not take the network.
        DivergenceError: the loss became NaN or infinite.
    """
    if not isinstance(network, fx.GraphModule):
        raise InputError("quantisation-aware training needs a traced network")
    with _quantiser() as quantiser:
        try:
            prepared = _prepared(quantiser, network, rounding)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise MachineError(
                f"torch's quantiser does not take the network: {str(error).splitlines()[0]}"
            ) from None
        short = replace(recipe, steps=STEPS, lr=SHARE_OF_RATE * recipe.lr, ema=None)
        trained = train_in(prepared, images, short, setting).model
    return _with_weights_of(network, trained)


def _prepared(quantiser: Any, network: fx.GraphModule, rounding: Rounding) -> nn.Module:
    """A copy with fake quantisation, its activations' ranges fixed."""
    most = 127 if rounding.weight_bits == 8 else 64
    low, high, kind = 0, 255, torch.quint8
    if rounding.signed:
        low, high, kind = -128, 127, torch.qint8
    activations = quantiser.FakeQuantize.with_args(
        observer=quantiser.MinMaxObserver,
        quant_min=low,
        quant_max=high,
        dtype=kind,
        qscheme=torch.per_tensor_affine,
    )
    weights = quantiser.FakeQuantize.with_args(
        observer=quantiser.PerChannelMinMaxObserver,
        quant_min=-most,
        quant_max=most,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )
    config = quantiser.QConfig(activation=activations, weight=weights)
    mapping = quantiser.QConfigMapping().set_global(config)
    for pooling in _POOLINGS:
        mapping = mapping.set_object_type(pooling, None)
    prepared: nn.Module = quantiser.quantize_fx.prepare_qat_fx(
        _with_known_relus(network).train(),
        mapping,
        (rounding.calibration[0],),
    )
    prepared.apply(torch.ao.nn.intrinsic.qat.freeze_bn_stats)
    prepared.eval()
    prepared.apply(quantiser.disable_fake_quant)  # the file's ranges are those of the fp32 network
    with torch.no_grad():
        for image in rounding.calibration:
            prepared(image)
    prepared.apply(quantiser.enable_fake_quant)
    for module in prepared.modules():
        watched = isinstance(module, quantiser.FakeQuantize)
        if watched and isinstance(module.activation_post_process, quantiser.MinMaxObserver):
            quantiser.disable_observer(module)  # ranges of activations stay, those of weights move
    return prepared


def _with_known_relus(network: fx.GraphModule) -> fx.GraphModule:
    """A copy whose ReLUs are spelled as the quantiser knows them, to fuse with the layer before.

    Another one would get a rounding of its own between layer and ReLU, which the file has not.
    """
    result = copy.deepcopy(network).cpu()
    for node in result.graph.nodes:
        function = node.op == "call_function" and node.target in (torch.relu, torch.relu_)
        if function or (node.op == "call_method" and node.target in ("relu", "relu_")):
            node.op, node.target = "call_function", nn.functional.relu
    result.recompile()
    return result


@contextmanager
def _quantiser() -> Any:
    """``torch.ao.quantization``, which announces its move to another package at every call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch.ao import quantization
            from torch.ao.quantization import quantize_fx  # noqa: F401
        except ImportError:
            raise MachineError(
                "this torch has no torch.ao.quantization, so nothing is trained under rounding"
            ) from None
        yield quantization


def _with_weights_of(network: fx.GraphModule, trained: nn.Module) -> nn.Module:
    """The network with the trained weights; layers that were fused come apart again."""
    result = copy.deepcopy(network).cpu()
    layers = dict(trained.named_modules())
    followers = _batch_norms(result)
    with torch.no_grad():
        for name, module in result.named_modules():
            made = layers.get(name)
            for kind in ("weight", "bias"):
                old, new = getattr(module, kind, None), getattr(made, kind, None)
                if isinstance(old, nn.Parameter) and isinstance(new, Tensor):
                    old.copy_(new)
            fused = getattr(made, "bn", None)
            if name in followers and fused is not None:
                result.get_submodule(followers[name]).load_state_dict(fused.state_dict())
    return result.eval()


def _batch_norms(network: fx.GraphModule) -> dict[str, str]:
    """The BatchNorm behind each layer that it normalises alone, by their names."""
    found = {}
    for node in network.graph.nodes:
        if node.op != "call_module" or len(node.all_input_nodes) != 1:
            continue
        before = node.all_input_nodes[0]
        behind = isinstance(network.get_submodule(str(node.target)), _BatchNorm)
        if behind and before.op == "call_module" and len(before.users) == 1:
            found[str(before.target)] = str(node.target)
    return found
