"""Code that asks for sizes is traced, and only what depends on the content of tensors is not."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.tracing.trace import trace
from tests.models import whole


def branches(x: Tensor) -> Tensor:
    if x.dim() == 4 and x.shape[-1] > 4:
        return F.max_pool2d(x, 2)
    return x * 2


def counts(x: Tensor) -> Tensor:
    y = x
    for _ in range(len(x.shape) - x.size(0)):
        y = y + x
    return y * float(x.shape[2]) / int(x.shape[3])


def unpacks(x: Tensor) -> Tensor:
    sizes = list(x.shape)
    left, right = (part for part in x.chunk(2, dim=1))
    return torch.cat([left, right * max(sizes[2], 3)], 1)


def asks_for_the_device(x: Tensor) -> Tensor:
    with torch.autocast(device_type=x.device.type, enabled=False):
        return x + torch.ones_like(x)


class Between(nn.Module):
    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.step = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), step

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.step(self.first(x)))


@pytest.mark.parametrize("step", [branches, counts, unpacks])
def test_sizes_are_known_where_python_needs_a_number(step: Callable[[Tensor], Tensor]) -> None:
    model, x = Between(step).eval(), torch.randn(2, 3, 8, 8)
    traced = trace(model, x)
    assert {group.width for group in traced.groups} <= {4, 8}
    assert traced.groups
    assert torch.allclose(slim(traced, whole(traced))(x), model(x), atol=1e-6)


def test_the_kind_of_a_device_is_a_string() -> None:
    model, x = Between(asks_for_the_device).eval(), torch.randn(2, 3, 8, 8)
    traced = trace(model, x)
    assert torch.allclose(slim(traced, whole(traced))(x), model(x), atol=1e-6)
    assert "cannot be traced" not in " ".join(place.reason for place in traced.unfollowed)


def test_a_deep_network_needs_no_deep_recursion() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = F.conv2d(x, self.conv.weight)
            for _ in range(1200):
                x = x + 1
            return F.conv2d(x, self.conv.weight.transpose(0, 1))

    traced = trace(Deep().eval(), torch.randn(1, 3, 2, 2))
    assert len(traced.graph.graph.nodes) > 1200


def test_what_depends_on_the_content_of_a_tensor_is_not_traced() -> None:
    def step(x: Tensor) -> Tensor:
        return x[:, : int(x.argmax()) + 1]

    traced = trace(Between(step).eval(), torch.randn(1, 3, 4, 4))
    assert "depends on the values of a tensor" in traced.unfollowed[0].reason
