"""The ONNX operators of single nodes; what is not known is None."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeprune.deploy.table.network import Width
from edgeprune.errors import InputError
from edgeprune.export.lowering import grouping, lower
from edgeprune.prune.tracing.trace import trace


def _node(function: Callable[[Tensor], Tensor]) -> fx.Node:
    """The last call of a network that ends in ``function``, on (1, 4, 8, 8)."""

    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return function(self.stem(x))

    traced = trace(Ends().eval(), torch.zeros(1, 3, 8, 8))
    return [node for node in traced.graph.graph.nodes if node.op.startswith("call_")][-1]


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (lambda x: x.relu(), ["Relu"]),
        (lambda x: F.relu(x, inplace=True), ["Relu"]),
        (lambda x: x.contiguous(), []),
        (lambda x: x.mean((2, 3)), ["GlobalAveragePool", "Flatten"]),
        (lambda x: x.mean((2, 3), keepdim=True), ["GlobalAveragePool"]),
        (lambda x: F.adaptive_avg_pool2d(x, 8), []),
        (lambda x: torch.cat([x, x], -3), ["Concat"]),
        (lambda x: x.mean(1), None),
        (lambda x: torch.cat([x, x], 2), None),
        (lambda x: x * 2, None),
        (lambda x: x.relu_(), None),
        (lambda x: x.cumsum(1), None),
    ],
)
def test_functions(function: Callable[[Tensor], Tensor], kinds: list[str] | None) -> None:
    made = lower(_node(function), None)
    assert (None if made is None else [kind for kind, _ in made]) == kinds


def test_pooling_carries_its_sizes() -> None:
    [(kind, attributes)] = lower(_node(lambda x: F.max_pool2d(x, 3, padding=1)), None) or ()
    assert kind == "MaxPool"
    assert attributes == {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (3, 3)}


def test_pooling_that_no_kernel_does_is_refused() -> None:
    with pytest.raises(InputError, match=r"pooling \(8, 8\) to \(3, 3\) cannot be timed"):
        lower(_node(lambda x: F.adaptive_avg_pool2d(x, 3)), None)


@pytest.mark.parametrize(
    ("layer", "groups"),
    [
        (nn.Conv2d(8, 8, 1), Width(1)),
        (nn.Conv2d(8, 16, 1, groups=2), Width(2)),
        (nn.Conv2d(8, 8, 1, groups=8), Width(0, ((3, 1),))),
        (nn.Conv2d(8, 8, 1, groups=4), Width(0, ((3, 1),))),
    ],
)
def test_whole_groups_follow_the_width_they_read(layer: nn.Conv2d, groups: Width) -> None:
    each = layer.in_channels // layer.groups
    reads = Width(0, ((3, each),))
    node = _node(lambda x: x.relu())
    assert grouping(node, layer, reads) == groups
