"""Training under the rounding of the int8 file: the same rounding, the same layers, no harm."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.ranges import observed
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.errors import InputError, MachineError
from edgeprune.export.exporter import to_onnx
from edgeprune.prune.training import quantisation_aware
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import Setting, train
from edgeprune.prune.training.quantisation_aware import Rounding, train_rounded
from edgeprune.prune.training.recipe import Recipe
from edgeprune.target import Runtime
from tests.images import grey_noise

RECIPE = Recipe(epochs=2, batch=16, lr=0.1)


class Net(nn.Module):
    """A residual block, a pooling and a classifier."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(x + self.bn2(self.conv2(x)))
        return self.linear(self.pool(x).flatten(1))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    trained = train(Net(), grey_noise(64), RECIPE).model
    return fx.symbolic_trace(trained).eval()


@pytest.fixture(scope="module")
def rounding():
    pixels, _ = next(iter(grey_noise(32, seed=1).batches(32)))
    return Rounding([image[None] for image in pixels])


def test_the_rounding_is_that_of_the_int8_file(network, rounding):
    proto = to_onnx(network, (3, 8, 8))
    images = [image.numpy() for image in rounding.calibration]
    file = quantised(proto, observed(proto, images, "minmax"), Scheme())
    session = open_session(file.SerializeToString(), Runtime())
    wanted = np.concatenate([session.run(image) for image in images])
    with quantisation_aware._quantiser() as quantiser:
        prepared = quantisation_aware._prepared(quantiser, network, rounding)
    stacked = torch.cat(list(rounding.calibration))
    with torch.inference_mode():
        rounded, plain = prepared(stacked).numpy(), network(stacked).numpy()
    # Every logit falls on the same step; without the rounding inside, a quarter do not.
    assert np.abs(rounded - wanted).max() < 1e-3 < np.abs(plain - wanted).max()


def test_the_same_layers_come_back_with_other_weights(network, rounding, monkeypatch):
    monkeypatch.setattr(quantisation_aware, "STEPS", 6)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = grey_noise(64)
    result = train_rounded(network, images, rounding, RECIPE, Setting(teacher=network))
    after = result.state_dict()
    assert list(after) == list(before)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])  # what was given is left as it was
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert {"conv1.weight", "bn1.weight", "conv2.weight", "bn2.bias", "linear.weight"} <= moved
    assert not any("running" in name for name in moved)
    assert evaluate(result, images).accuracy >= evaluate(network, images).accuracy - 0.05


def test_without_a_step_nothing_moves(network, rounding, monkeypatch):
    monkeypatch.setattr(quantisation_aware, "STEPS", 0)
    for other in (rounding, replace(rounding, weight_bits=7, signed=True)):
        result = train_rounded(network, grey_noise(16), other, RECIPE, Setting())
        for name, tensor in network.state_dict().items():
            assert torch.equal(result.state_dict()[name], tensor), name


def test_what_cannot_be_trained_is_one_line(network, rounding, monkeypatch):
    with pytest.raises(InputError, match="needs a traced network"):
        train_rounded(Net(), grey_noise(16), rounding, RECIPE, Setting())
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(MachineError, match=r"no torch\.ao\.quantization"):
        train_rounded(network, grey_noise(16), rounding, RECIPE, Setting())
