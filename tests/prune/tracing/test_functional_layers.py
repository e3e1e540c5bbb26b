"""Functional layers become layers: same answers, sliced like any other, names kept."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.prune.slimming.proof import carried
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import check
from edgeprune.prune.tracing.trace import Trace, trace
from tests.models import draw_plan, lively, whole


class Same(nn.Conv2d):
    """TensorFlow's "same" padding, computed from the image's size as ports of it do."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.size()[-2:]
        rows = max((-(-height // 2) - 1) * 2 + 3 - height, 0)
        columns = max((-(-width // 2) - 1) * 2 + 3 - width, 0)
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Standardised(nn.Conv2d):
    """The weight is standardised over the inputs, so no input may be removed from it."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(o, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape_as(self.weight)
        return F.conv2d(x, weight * self.gain, self.bias, self.stride, self.padding)


class NormAct(nn.BatchNorm2d):
    """Norm and activation in one, with a submodule of its own."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[1] == self.num_features, "another number of channels")
        kept = self.running_mean, self.running_var, self.weight, self.bias
        return self.act(F.batch_norm(x, *kept, self.training, self.momentum or 0.0, self.eps))


class Blur(nn.Module):
    """A fixed filter in a buffer that is never saved."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.full((1, 1, 2, 2), 0.25), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, self.filter.expand(channels, 1, 2, 2), stride=2, groups=channels)


class ChannelsLast(nn.Module):
    """ConvNeXt's block: depthwise, LayerNorm and linear layers on the last axis, LayerScale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.up, self.down = nn.Linear(width, 20), nn.Linear(20, width)
        self.gamma = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(x).permute(0, 2, 3, 1)
        y = F.linear(y, self.up.weight, self.up.bias)
        y = F.linear(F.gelu(y), self.down.weight, self.down.bias)
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class Loose(nn.Module):
    """Functional layers of every kind on parameters that lie in no layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.up = (
            nn.Parameter(torch.randn(10, width, 3)),
            nn.Parameter(torch.randn(10, 6, 2, 2)),
        )
        self.scale, self.shift = nn.Parameter(torch.rand(6)), nn.Parameter(torch.rand(6))
        self.slope, self.last = (
            nn.Parameter(torch.rand(6)),
            nn.Parameter(torch.randn(width, 6, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        y = F.conv1d(x.flatten(2), self.one, padding=[1]).view(n, 10, h, w)
        y = F.conv_transpose2d(y, self.up, stride=2)
        y = F.prelu(F.group_norm(y, 3, self.scale, self.shift), self.slope)
        y = F.instance_norm(y, weight=self.scale, bias=self.shift)
        return F.conv2d(input=y, weight=self.last, stride=2)


def _old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(nn.Conv2d(12, 12, 3, padding=1))


def _masked() -> nn.Module:
    return prune.random_unstructured(nn.Conv2d(12, 12, 3, padding=1), "weight", 0.5)


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "same padding": lambda: Same(12, 12, 3, stride=2),
    "depthwise same padding": lambda: Same(12, 12, 3, stride=2, groups=12),
    "weight standardisation": lambda: Standardised(12, 12),
    "norm and activation": lambda: NormAct(12),
    "blur": Blur,
    "channels last": lambda: ChannelsLast(12),
    "loose": lambda: Loose(12),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(12, 12, 1)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(12, 12)),
    "old weight_norm": _old_weight_norm,
    "old spectral_norm": lambda: nn.utils.spectral_norm(nn.Conv2d(12, 12, 1)),
    "prune": _masked,
}


class Around(nn.Module):
    """A layer between two convolutions; a linear one acts on the last axis."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 12, 3, padding=1), middle
        self.last, self.head = nn.Conv2d(12, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        if isinstance(self.middle, nn.Linear):
            x = self.middle(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        else:
            x = self.middle(x)
        return self.head(F.relu(self.last(x)).mean((2, 3)))


def _traced(kind: str) -> tuple[nn.Module, Trace, Tensor]:
    torch.manual_seed(0)
    model = lively(Around(MIDDLES[kind]())).eval().double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        model(x)  # hooks of torch.nn.utils leave what they computed behind
    return model, trace(model, x), x


@pytest.mark.parametrize("kind", MIDDLES)
def test_functional_layers_are_sliced_like_any_other(kind: str) -> None:
    model, traced, x = _traced(kind)
    assert not traced.unfollowed
    assert {g.width for g in traced.groups} >= {12, 8}
    expected = model(x)
    assert torch.allclose(slim(traced, whole(traced))(x), expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(model(x), expected)
    cost = CostModel(traced)
    for seed in range(4):
        plan = draw_plan(traced, seed)
        thin = slim(traced, plan, fold_constants=False)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            found = thin(x)
        assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)
        widths = torch.tensor([[len(kept) for kept in check(plan, traced.groups)]]).numpy()
        assert cost.macs(widths) == counter.get_total_flops() // 2 // len(x)
        assert cost.params(widths) == sum(p.numel() for p in thin.parameters())


@pytest.mark.parametrize(
    "kind", ["same padding", "norm and activation", "weight standardisation", "channels last"]
)
def test_names_of_the_state_dict_are_kept(kind: str) -> None:
    model, traced, _ = _traced(kind)
    thin = slim(traced, whole(traced))
    own = {name for name in model.state_dict() if not name.endswith(".gain")}
    assert set(thin.state_dict()) == own


def test_other_image_sizes_are_padded_as_the_dense_network_does() -> None:
    model, traced, _ = _traced("same padding")
    thin = slim(traced, whole(traced))
    for side in (7, 8, 12):
        x = torch.randn(1, 3, side, side, dtype=torch.float64)
        assert torch.allclose(thin(x), model(x), rtol=1e-10, atol=1e-12)


def test_a_layer_of_the_graph_shares_the_models_parameters_and_follows_its_mode() -> None:
    model, traced, x = _traced("norm and activation")
    norm: Any = traced.graph.get_submodule("middle")
    assert type(norm) is nn.BatchNorm2d
    assert norm.weight is model.get_parameter("middle.weight")
    thin = slim(traced, whole(traced)).train()
    before = thin.get_buffer("middle.running_mean").clone()
    thin(x)
    assert not torch.equal(thin.get_buffer("middle.running_mean"), before)


def test_two_calls_on_the_same_weights_stay_one_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm = nn.Conv2d(6, 6, 1), NormAct(6)
            self.stem, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.stem(x))
            for _ in range(2):
                x = self.norm(F.conv2d(x, self.inner.weight, self.inner.bias))
            return self.head(x)

    model, x = lively(Twice()).eval().double(), torch.randn(1, 3, 4, 4, dtype=torch.float64)
    traced = trace(model, x)
    called = [str(n.target) for n in traced.graph.graph.nodes if n.op == "call_module"]
    assert called.count("inner") == 2
    assert called.count("norm") == 3
    plan = draw_plan(traced, 1)
    found = slim(traced, plan, fold_constants=False)(x)
    assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)


def test_weights_that_are_computed_from_the_input_stay_a_function() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.kernel, self.head = (
                nn.Conv2d(3, 6, 1),
                nn.Linear(6, 36),
                nn.Linear(6, 2),
            )

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            weight = self.kernel(x.mean((0, 2, 3))).view(6, 6, 1, 1)
            return self.head(F.conv2d(x, weight).mean((2, 3)))

    model, x = Dynamic().eval(), torch.randn(2, 3, 4, 4)
    traced = trace(model, x)
    assert "no rule for conv2d" in [place.reason for place in traced.unfollowed]
    assert torch.equal(slim(traced, whole(traced))(x), model(x))
