"""Each group's channels are read where they are ready: after BatchNorm, addition and ReLU."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.tracing.producers import producers, producing_layers
from edgeprune.prune.tracing.trace import TensorSlice, Trace, trace
from tests.models import group_of


def _trace(spec: ModelSpec) -> Trace:
    return trace(rewrite_shortcuts(build(spec)).eval(), torch.zeros(1, 3, 32, 32))


def _found(traced: Trace, name: str) -> list[tuple[str, str]]:
    group = traced.groups[traced.index(name)]
    return [(producer.module, str(producer.node.op)) for producer in producers(traced, group)]


def test_a_branch_has_one_producer_and_a_stream_one_per_addition() -> None:
    traced = _trace(ModelSpec("resnet20"))
    assert [module for module, _ in _found(traced, "layer1.0.conv1")] == ["layer1.0.bn1"]
    stream = [module for module, _ in _found(traced, "layer2")]
    assert stream == ["layer2.0.bn2", "layer2.1.bn2", "layer2.2.bn2"]


def test_every_producer_is_read_behind_its_relu() -> None:
    traced = _trace(ModelSpec("resnet20"))
    nodes = [producer.node for group in traced.groups for producer in producers(traced, group)]
    assert all("relu" in node.name for node in nodes)
    assert len(nodes) == 19


def test_frozen_shortcuts_make_no_channels() -> None:
    traced = _trace(ModelSpec("resnet20"))
    group = traced.groups[traced.index("layer2")]
    owners = {part.tensor for _, part in producing_layers(traced.graph, group)}
    assert "layer2.0.conv2.weight" in owners
    assert "layer2.0.shortcut.weight" in {part.tensor for part in group.slices}
    assert "layer2.0.shortcut.weight" not in owners


def test_without_batchnorm_the_layer_itself_is_the_producer() -> None:
    traced = _trace(ModelSpec("vgg11", kwargs={"batch_norm": False}))
    assert _found(traced, "features.0") == [("features.0", "call_module")]
    group = traced.groups[traced.index("classifier.1")]
    assert [producer.module for producer in producers(traced, group)] == ["classifier.1"]


class _Preactivated(nn.Module):
    """The result of the addition is used twice, so nothing settles it further."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv(torch.relu(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_a_stream_without_relu_is_read_after_the_addition() -> None:
    traced = trace(_Preactivated().eval(), torch.zeros(1, 3, 8, 8))
    found = producers(traced, traced.groups[traced.index("stem")])
    assert [(producer.module, producer.node.name) for producer in found] == [
        ("stem", "stem"),
        ("conv", "add"),
    ]


def test_a_group_that_nothing_makes_is_refused() -> None:
    traced = _trace(ModelSpec("resnet20"))
    whole = traced.groups[0]
    part = TensorSlice("conv1.weight", 1, whole.slices[0].positions)
    group = group_of("inputs", 16, slices=(part,))
    with pytest.raises(InputError, match="no layer makes the channels of group inputs"):
        producers(traced, group)


def test_positions_are_those_of_the_node() -> None:
    traced = _trace(ModelSpec("resnet20"))
    for group in traced.groups:
        for producer in producers(traced, group):
            layout = traced.layouts[producer.node]
            assert layout.member[producer.positions.numpy()].tolist() == [
                [channel] for channel in range(group.width)
            ]
