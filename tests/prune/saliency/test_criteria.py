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


def _change(model: nn.Module, images: HeldImages, layer: str, axis: int = 0) -> torch.Tensor:
    """Sum of each parameter times its gradient, by channel of one layer."""
    network = copy.deepcopy(model).requires_grad_()
    pixels = images.normalisation(images.pixels)
    F.cross_entropy(network(pixels), images.labels).backward()
    parts = []
    for parameter in network.get_submodule(layer).parameters(recurse=False):
        change = (parameter * parameter.grad).detach()
        parts.append(change.movedim(axis, 0).flatten(1).sum(1) if change.ndim > 1 else change)
    return torch.stack(parts).sum(0)


@pytest.mark.parametrize("frozen", ["nothing", "BatchNorm", "everything"])
def test_taylor_is_the_same_whatever_is_frozen(
    network: nn.Module, images: HeldImages, frozen: str
) -> None:
    expected = [_change(network, images, layer).square() for layer in ("bn1", "hidden")]
    for module in network.modules():
        if frozen == "everything" or frozen in type(module).__name__:
            module.requires_grad_(False)
    traced = trace(network, torch.zeros(1, 3, 8, 8))
    found = taylor(traced, images, device=CPU)
    for name, values in zip(("conv1", "hidden"), expected, strict=True):
        assert torch.allclose(found[traced.index(name)], values, rtol=1e-3, atol=1e-9)


class Upsampling(nn.Module):
    """A transposed convolution, with or without BatchNorm, between two layers."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.up, self.norm = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 2, 2), norm
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up = F.relu(self.norm(self.up(F.relu(self.first(x)))))
        logits: torch.Tensor = self.out(up.mean((2, 3)))
        return logits


@pytest.mark.parametrize("layer", ["up", "norm"])
def test_taylor_cuts_the_outputs_of_a_transposed_convolution(
    images: HeldImages, layer: str
) -> None:
    """Outputs lie on axis 1 of its weight, where those of other layers lie on axis 0."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6) if layer == "norm" else nn.Identity()
    model = Upsampling(norm).eval()
    traced = trace(model, torch.zeros(1, 3, 8, 8))
    found = taylor(traced, images, device=CPU)[traced.index("up")]
    expected = _change(model, images, layer, axis=1 if layer == "up" else 0).square()
    assert found.shape == (6,)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-9)


class Twice(nn.Module):
    """One layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.out = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        once = F.relu(self.again(F.relu(self.first(x))))
        logits: torch.Tensor = self.out(F.relu(self.again(once)).mean((2, 3)))
        return logits


def test_taylor_adds_up_both_calls_of_a_layer(images: HeldImages) -> None:
    torch.manual_seed(0)
    model = Twice().eval()
    for layer in (model.first, model.again):
        nn.init.ones_(layer.bias)  # so that no channel is dead behind its ReLU
    traced = trace(model, torch.zeros(1, 3, 8, 8))
    (found,) = taylor(traced, images, device=CPU)
    expected = sum(_change(model, images, layer) for layer in ("first", "again")) ** 2
    assert len(found) == 4
    assert bool((found > 0).all())
    assert torch.allclose(found, expected, rtol=1e-3)


def test_taylor_leaves_no_gradient_behind(
    network: nn.Module, traced: Trace, images: HeldImages
) -> None:
    values = taylor(traced, images, count=16, device=CPU)
    assert all(bool((value >= 0).all()) for value in values)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.isfinite(value).all() for value in values)


def test_saliencies_are_not_part_of_a_gradient(traced: Trace) -> None:
    assert not any(value.requires_grad for value in (*l1(traced), *bn_gamma(traced)))
