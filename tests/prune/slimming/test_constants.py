"""What a removed channel sent on as a constant moves into the bias that follows, by hand."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import trace

SHIFT = 2.0  # what BatchNorm sends on for channel 1 once its weight is zero


def _pruned(reader: nn.Module, *after: nn.Module) -> nn.Module:
    """Channel 1 of three is removed in front of ``reader``."""
    norm = nn.BatchNorm2d(3)
    nn.init.constant_(norm.bias, SHIFT)
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), norm, reader, *after)
    traced = trace(model.eval(), torch.zeros(1, 3, 6, 6))
    kept = {group.name: tuple(range(group.width)) for group in traced.groups}
    kept["0"] = (0, 2)
    return slim(traced, PruningPlan(model="test", kept=kept))


def _sent(reader: nn.Conv2d) -> Tensor:
    """Sum of the weights that read channel 1, times the constant."""
    return SHIFT * reader.weight[:, 1].sum((1, 2)).detach()


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_bias_takes_the_constant(kernel: int) -> None:
    reader = nn.Conv2d(3, 4, kernel)
    assert reader.bias is not None
    slim_bias = _pruned(reader, nn.Conv2d(4, 2, 1)).get_parameter("2.bias")
    assert torch.allclose(slim_bias, reader.bias + _sent(reader))


def test_padding_makes_it_no_constant() -> None:
    reader = nn.Conv2d(3, 4, 3, padding=1)
    assert reader.bias is not None
    slim_bias = _pruned(reader, nn.Conv2d(4, 2, 1)).get_parameter("2.bias")
    assert torch.equal(slim_bias, reader.bias)


def test_without_a_bias_the_running_mean_takes_it() -> None:
    reader = nn.Conv2d(3, 4, 1, bias=False)
    slim_mean = _pruned(reader, nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).get_buffer("3.running_mean")
    assert torch.allclose(slim_mean, -_sent(reader))
