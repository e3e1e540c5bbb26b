"""Classic saliencies by hand: weights, scales, and what happens when a channel is cut."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.channels import Trace, trace
from edgeprune.prune.criteria import bn_gamma, l1, taylor
from edgeprune.prune.images import HeldImages

CPU = torch.device("cpu")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.bn1 = nn.Conv2d(4, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.hidden, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.bn0(self.stem(x)))
        branch = F.relu(self.bn1(self.conv1(first)))
        second = F.relu(self.bn2(self.conv2(branch)) + first)
        logits: Tensor = self.out(F.relu(self.hidden(second.mean((2, 3)))))
        return logits


@pytest.fixture
def network() -> _Net:
    torch.manual_seed(3)
    model = _Net()
    for norm in (model.bn0, model.bn1, model.bn2):
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    return model.eval()


@pytest.fixture
def traced(network: _Net) -> Trace:
    return trace(network, torch.zeros(1, 3, 8, 8))


@pytest.fixture
def images() -> HeldImages:
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randint(0, 256, (32, 3, 8, 8), generator=generator).to(torch.uint8)
    return HeldImages(pixels, torch.arange(32) % 3)


def test_l1_is_the_filters_mean_weight_relative_to_the_layer(network: _Net, traced: Trace) -> None:
    size = network.conv1.weight.abs().mean((1, 2, 3))
    assert torch.allclose(l1(traced)[traced.index("conv1")], size / size.mean())
    sizes = [c.weight.abs().mean((1, 2, 3)) for c in (network.stem, network.conv2)]
    stream = sum((size / size.mean() for size in sizes), torch.zeros(4)) / 2
    assert torch.allclose(l1(traced)[traced.index("stem")], stream)


def test_bn_gamma_is_the_mean_scale(network: _Net, traced: Trace) -> None:
    found = bn_gamma(traced)
    assert torch.allclose(found[traced.index("conv1")], network.bn1.weight.abs())
    stream = (network.bn0.weight.abs() + network.bn2.weight.abs()) / 2
    assert torch.allclose(found[traced.index("stem")], stream)


def test_groups_without_batchnorm_fall_back_to_l1(traced: Trace) -> None:
    at = traced.index("hidden")
    assert torch.equal(bn_gamma(traced)[at], l1(traced)[at])


def _slope(network: _Net, images: HeldImages, norms: tuple[str, ...], channel: int) -> float:
    """Change of the loss per share of a channel that is cut, by a small finite difference."""
    share = 1e-4
    losses = []
    for kept in (1 - share, 1 + share):
        model = copy.deepcopy(network).double()
        with torch.no_grad():
            for name in norms:
                norm = model.get_submodule(name)
                norm.get_parameter("weight")[channel] *= kept
                norm.get_parameter("bias")[channel] *= kept
            pixels = images.normalisation(images.pixels).double()
            losses.append(float(F.cross_entropy(model(pixels), images.labels)))
    return (losses[1] - losses[0]) / (2 * share)


@pytest.mark.parametrize(("group", "norms"), [("conv1", ("bn1",)), ("stem", ("bn0", "bn2"))])
def test_taylor_is_the_squared_slope_of_cutting_a_channel(
    network: _Net, traced: Trace, images: HeldImages, group: str, norms: tuple[str, ...]
) -> None:
    found = taylor(traced, images, device=CPU)[traced.index(group)]
    expected = [_slope(network, images, norms, c) ** 2 for c in range(len(found))]
    assert found.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-12)


def test_taylor_leaves_no_gradient_behind(
    network: _Net, traced: Trace, images: HeldImages
) -> None:
    values = taylor(traced, images, count=16, device=CPU)
    assert all(bool((value >= 0).all()) for value in values)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.isfinite(value).all() for value in values)


def test_saliencies_are_not_part_of_a_gradient(traced: Trace) -> None:
    assert not any(value.requires_grad for value in (*l1(traced), *bn_gamma(traced)))
