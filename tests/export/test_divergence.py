"""The first layer at which a file parts ways with torch is named."""

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgeprune.export.divergence import first_divergence
from edgeprune.export.exporter import to_onnx
from edgeprune.target import Parity
from tests.models import lively

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    return lively(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3))).eval()


@pytest.fixture(scope="module")
def proto(network: nn.Module) -> onnx.ModelProto:
    return to_onnx(network, (1, 3, 8, 8))


def _off(proto: onnx.ModelProto, weight: str) -> bytes:
    """The file with one weight tensor halved."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    [tensor] = [t for t in changed.graph.initializer if t.name == weight]
    halved = numpy_helper.from_array(numpy_helper.to_array(tensor) / 2, weight)
    tensor.CopyFrom(halved)
    return changed.SerializeToString()


def test_an_equal_file_diverges_nowhere(network: nn.Module, proto: onnx.ModelProto) -> None:
    assert first_divergence(network, proto.SerializeToString(), IMAGE, Parity()) is None


@pytest.mark.parametrize("layer", ["0", "3", "5"])
def test_the_changed_layer_is_named(
    network: nn.Module, proto: onnx.ModelProto, layer: str
) -> None:
    changed = _off(proto, f"{layer}.weight")
    assert first_divergence(network, changed, IMAGE, Parity()) == layer
