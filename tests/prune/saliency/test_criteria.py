"""Classic saliencies by hand: weights, scales, and what happens when a channel is cut."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.saliency.criteria import bn_gamma, l1, taylor
from edgeprune.prune.tracing.trace import Trace, trace

CPU = torch.device("cpu")


@pytest.fixture
def network(judged: Callable[[float], nn.Module]) -> nn.Module:
    return judged(-1.5)


@pytest.fixture
def traced(network: nn.Module) -> Trace:
    return trace(network, torch.zeros(1, 3, 8, 8))


@pytest.fixture
def images() -> HeldImages:
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randint(0, 256, (32, 3, 8, 8), generator=generator).to(torch.uint8)
    return HeldImages(pixels, torch.arange(32) % 3)


def test_l1_is_the_filters_mean_weight_relative_to_the_layer(
    network: nn.Module, traced: Trace
) -> None:
    size = network.conv1.weight.abs().mean((1, 2, 3))
    assert torch.allclose(l1(traced)[traced.index("conv1")], size / size.mean())
    sizes = [c.weight.abs().mean((1, 2, 3)) for c in (network.stem, network.conv2)]
    stream = sum((size / size.mean() for size in sizes), torch.zeros(6)) / 2
    assert torch.allclose(l1(traced)[traced.index("stem")], stream)


def test_bn_gamma_is_the_mean_scale(network: nn.Module, traced: Trace) -> None:
    found = bn_gamma(traced)
    assert torch.allclose(found[traced.index("conv1")], network.bn1.weight.abs())
    stream = (network.bn0.weight.abs() + network.bn2.weight.abs()) / 2
    assert torch.allclose(found[traced.index("stem")], stream)


def test_groups_without_batchnorm_fall_back_to_l1(traced: Trace) -> None:
    at = traced.index("hidden")
    assert torch.equal(bn_gamma(traced)[at], l1(traced)[at])


def _slope(network: nn.Module, images: HeldImages, norms: tuple[str, ...], channel: int) -> float:
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
    network: nn.Module, traced: Trace, images: HeldImages, group: str, norms: tuple[str, ...]
) -> None:
    found = taylor(traced, images, device=CPU)[traced.index(group)]
    expected = [_slope(network, images, norms, c) ** 2 for c in range(len(found))]
    assert found.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-12)


def test_taylor_leaves_no_gradient_behind(
    network: nn.Module, traced: Trace, images: HeldImages
) -> None:
    values = taylor(traced, images, count=16, device=CPU)
    assert all(bool((value >= 0).all()) for value in values)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.isfinite(value).all() for value in values)


def test_saliencies_are_not_part_of_a_gradient(traced: Trace) -> None:
    assert not any(value.requires_grad for value in (*l1(traced), *bn_gamma(traced)))
