"""Placement of a network: device, memory layout, precision and number of threads."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from edgeprune.prune.models.copying import deep_copy


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


def finished(copied: nn.Module, device: torch.device) -> nn.Module:
    """A working copy as callers get it: on ``device``, plain layout, evaluation mode."""
    return in_layout(copied.to(device), torch.contiguous_format).eval()


def half_precision(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 for matrix products on CUDA; the CPU computes in float32."""
    return torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda")
