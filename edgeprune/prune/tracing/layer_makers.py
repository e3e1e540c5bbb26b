"""The torch.nn layer that computes what a functional layer with given arguments computes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Maker = Callable[["Arguments"], nn.Module | None]


@dataclass(frozen=True)
class Arguments:
    """Arguments of a functional layer by the names of the function, without its input.

    Attributes:
        given: What was given.
        rank: Number of axes of the input.
    """

    given: Mapping[str, Any]
    rank: int

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or its default where it is left out or None."""
        found = self.given.get(name)
        return default if found is None else found


def _built(kind: Any, *args: Any, tensors: Mapping[str, Any], **kwargs: Any) -> nn.Module:
    """A layer of torch.nn that holds these tensors; None leaves one out."""
    with torch.device("meta"):  # its own tensors are never filled
        layer: nn.Module = kind(*args, **kwargs)
    for name, tensor in tensors.items():
        layer._parameters.pop(name, None)
        layer._buffers.pop(name, None)
        if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter):
            layer.register_buffer(name, tensor)
        else:
            layer.register_parameter(name, tensor)
    return layer.eval()


def _convolution(kinds: Mapping[int, type[nn.Module]], *, transposed: bool) -> Maker:
    def make(call: Arguments) -> nn.Module | None:
        weight, groups = call.get("weight"), int(call.get("groups", 1))
        kind = kinds[weight.ndim - 2]
        first, second = weight.shape[0], weight.shape[1] * groups
        options = {"output_padding": call.get("output_padding", 0)} if transposed else {}
        return _built(
            kind,
            *((first, second) if transposed else (second, first)),
            tuple(weight.shape[2:]),
            stride=_sizes(call.get("stride", 1)),
            padding=_sizes(call.get("padding", 0)),
            dilation=_sizes(call.get("dilation", 1)),
            groups=groups,
            tensors={"weight": weight, "bias": call.get("bias")},
            **options,
        )

    return make


def _sizes(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


def _linear(call: Arguments) -> nn.Module | None:
    weight = call.get("weight")
    if weight.ndim != 2:
        return None
    tensors = {"weight": weight, "bias": call.get("bias")}
    return _built(nn.Linear, weight.shape[1], weight.shape[0], tensors=tensors)


def _batch_norm(call: Arguments) -> nn.Module | None:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    mean = call.get("running_mean")
    if mean is None or call.get("training", False) or call.rank not in kinds:
        return None  # statistics of the batch are no property of a network in evaluation
    counter = torch.zeros((), dtype=torch.int64, device=mean.device)
    return _built(
        kinds[call.rank],
        len(mean),
        eps=call.get("eps", 1e-5),
        momentum=call.get("momentum", 0.1),
        tensors={**_affine(call), **_running(call), "num_batches_tracked": counter},
    )


def _instance_norm(call: Arguments) -> nn.Module | None:
    kinds = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    weight = call.get("weight")
    if weight is None or not call.get("use_input_stats", True) or call.rank not in kinds:
        return None
    eps = call.get("eps", 1e-5)
    return _built(kinds[call.rank], len(weight), eps=eps, affine=True, tensors=_affine(call))


def _layer_norm(call: Arguments) -> nn.Module | None:
    shape, eps = tuple(call.get("normalized_shape")), call.get("eps", 1e-5)
    return _built(nn.LayerNorm, shape, eps=eps, tensors=_affine(call))


def _group_norm(call: Arguments) -> nn.Module | None:
    weight = call.get("weight")
    if weight is None:
        return None
    groups, eps = int(call.get("num_groups")), call.get("eps", 1e-5)
    return _built(nn.GroupNorm, groups, len(weight), eps=eps, tensors=_affine(call))


def _prelu(call: Arguments) -> nn.Module | None:
    weight = call.get("weight")
    return _built(nn.PReLU, weight.numel(), tensors={"weight": weight})


def _affine(call: Arguments) -> dict[str, Any]:
    return {"weight": call.get("weight"), "bias": call.get("bias")}


def _running(call: Arguments) -> dict[str, Any]:
    return {name: call.get(name) for name in ("running_mean", "running_var")}


_CONVOLUTION = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_MAKERS: dict[Any, tuple[str, Maker]] = {
    **dict.fromkeys(
        (F.conv1d, F.conv2d, F.conv3d),
        (
            _CONVOLUTION,
            _convolution({1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}, transposed=False),
        ),
    ),
    **dict.fromkeys(
        (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
        (
            _TRANSPOSED,
            _convolution(
                {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d},
                transposed=True,
            ),
        ),
    ),
    F.linear: ("input weight bias", _linear),
    F.batch_norm: (
        "input running_mean running_var weight bias training momentum eps",
        _batch_norm,
    ),
    F.instance_norm: (
        "input running_mean running_var weight bias use_input_stats momentum eps",
        _instance_norm,
    ),
    F.layer_norm: ("input normalized_shape weight bias eps", _layer_norm),
    F.group_norm: ("input num_groups weight bias eps", _group_norm),
    F.prelu: ("input weight", _prelu),
}


def maker_of(function: Any) -> tuple[tuple[str, ...], Maker] | None:
    """The argument names of a functional layer and what makes its layer, or None."""
    found = _MAKERS.get(function) if callable(function) else None
    return None if found is None else (tuple(found[0].split()), found[1])
