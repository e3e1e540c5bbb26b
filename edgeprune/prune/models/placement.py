"""Placement of a network: device, memory layout, precision and number of threads."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from edgeprune.prune.models.copying import deep_copy

_FEW_CHANNELS = 8


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one CPU thread within; a decorator too. About 3 microseconds.

    Small operators, thousands of them a second, gain little from a second thread, and nearly
    stand still where another process keeps its core: every one of them waits at a barrier.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def best_device() -> torch.device:
    """The first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter; the CPU for a network without any."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def working_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy on ``device`` in the memory layout its convolutions run fastest in."""
    return in_layout(deep_copy(model).to(device), torch.channels_last)


def in_layout(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The network itself, its weights laid out anew."""
    return model.to(memory_format=layout)


@contextmanager
def exact_strided_gradients(model: nn.Module) -> Iterator[None]:
    """Strided 1x1 convolutions of few channels take every n-th pixel first, then stride 1.

    For fewer than 8 channels in channels_last oneDNN 3.12 (torch 2.14, CPU) returns wrong weight
    gradients, another at every call, and writes beyond its buffers. The output is the same.
    """
    strides = {
        layer: layer.stride
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
        and max(layer.stride) > 1
        and layer.kernel_size == (1, 1)
        and layer.padding == (0, 0)
        and layer.in_channels // layer.groups < _FEW_CHANNELS
    }
    hooks = [layer.register_forward_pre_hook(_thinned(*by)) for layer, by in strides.items()]
    for layer in strides:
        layer.stride = (1, 1)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, stride in strides.items():
            layer.stride = stride


def _thinned(rows: int, columns: int) -> Callable[..., tuple[Tensor, ...]]:
    """A pre-hook that takes every so many rows and columns of the input."""
    return lambda layer, inputs: (inputs[0][..., ::rows, ::columns], *inputs[1:])


def finished(copied: nn.Module, device: torch.device) -> nn.Module:
    """A working copy as callers get it: on ``device``, plain layout, evaluation mode."""
    return in_layout(copied.to(device), torch.contiguous_format).eval()


def half_precision(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 for matrix products on CUDA; the CPU computes in float32."""
    return torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda")


def narrow(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 where the hardware multiplies it: on AVX-512 BF16 three times the images."""
    able = has_bfloat16() if device.type == "cpu" else device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16) if able else nullcontext()


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
