import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace, Width, trace


def widths(traced: Trace) -> dict[str, int]:
    return {group.name: group.width for group in traced.groups}


def resnet20(shortcut: str) -> Trace:
    model = build(ModelSpec("resnet20", kwargs={"shortcut": shortcut})).eval()
    return trace(model, torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("shortcut", ["A-conv", "B"])
def test_a_cifar_resnet_has_one_group_per_branch_and_one_per_residual_stream(shortcut):
    traced = resnet20(shortcut)
    streams = {"conv1": 16, "layer2": 32, "layer3": 64}
    inner = {f"layer{s + 1}.{b}.conv1": 16 << s for s in range(3) for b in range(3)}
    assert widths(traced) == {**streams, **inner}
    assert {g.name for g in traced.groups if not g.droppable} == set(streams)
    assert {g.name: g.block for g in traced.groups if g.droppable} == {
        name: name.removesuffix(".conv1") for name in inner
    }
    stage = {group.name: group.stage for group in traced.groups}
    assert stage["conv1"] == 0
    assert all(stage[name] == int(name[5]) - 1 for name in stage if name != "conv1")
    assert not traced.unfollowed


def test_zero_padded_shortcuts_tie_each_stage_to_the_channels_it_copies():
    traced = resnet20("A")
    streams = {g.name: g for g in traced.groups if not g.droppable}
    # 16 channels live through all stages, 16 appear in stage 2, 32 in stage 3.
    assert [g.width for g in streams.values()] == [16, 16, 32]
    placed = {
        part.tensor: part.positions.ravel().tolist()
        for part in streams["conv1"].slices
        if part.axis == 0 and part.tensor.endswith("conv2.weight")
    }
    assert placed["layer1.0.conv2.weight"] == list(range(16))
    assert placed["layer2.0.conv2.weight"] == list(range(8, 24))
    assert placed["layer3.0.conv2.weight"] == list(range(24, 40))


def test_every_position_of_every_slice_belongs_to_one_channel(net):
    traced = trace(*net)
    assert traced.groups
    tensors = {**dict(net[0].named_parameters()), **dict(net[0].named_buffers())}
    seen: dict[tuple[str, int], list[int]] = {}
    for group in traced.groups:
        for part in group.slices:
            assert part.positions.shape[0] == group.width
            seen.setdefault((part.tensor, part.axis), []).extend(part.positions.ravel().tolist())
    for (name, axis), positions in seen.items():
        assert len(set(positions)) == len(positions)
        assert max(positions) < tensors[name].shape[axis]


def test_group_names_are_unique_and_the_same_again(net):
    first, second = trace(*net), trace(*net)
    assert len(widths(first)) == len(first.groups)
    assert [g.name for g in first.groups] == [g.name for g in second.groups]


def test_the_traced_model_is_untouched(net):
    model, example = net
    model[0].train() if isinstance(model, nn.Sequential) else model.train()
    before = copy.deepcopy(model)
    trace(model, example)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    for name, tensor in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_the_width_of_a_tensor_is_linear_in_the_widths_of_its_groups(tiny):
    traced = trace(*tiny("inception"))
    joined = [n for n in traced.graph.graph.nodes if "cat" in n.name]
    assert traced.width_of(joined[0]) == Width(0, ((1, 1), (2, 1), (3, 1)))
    flat = [n for n in trace(*tiny("vgg")).graph.graph.nodes if n.name == "_5"]
    vgg = trace(*tiny("vgg"))
    flat = [n for n in vgg.layouts if tuple(n.meta["tensor_meta"].shape) == (2, 24)]
    assert vgg.width_of(flat[0]) == Width(0, ((1, 4),))


def test_many_small_groups_of_a_convolution_live_or_die_whole(tiny):
    traced = trace(*tiny("resnext"))
    inner = traced.groups[traced.index("2.branch.0.0")]
    assert inner.width == 8
    grouped = next(s for s in inner.slices if s.tensor == "2.branch.2.0.weight")
    assert grouped.positions.tolist() == [[2 * i, 2 * i + 1] for i in range(8)]


def test_few_large_groups_of_a_convolution_lose_the_same_positions(tiny):
    traced = trace(*tiny("grouped"))
    weight = [
        (s.axis, s.positions.tolist())
        for g in traced.groups
        for s in g.slices
        if s.tensor == "2.0.weight"
    ]
    assert (1, [[i] for i in range(6)]) in weight
    assert (0, [[i, i + 8] for i in range(8)]) in weight


def test_awkward_code_is_followed(tiny):
    traced = trace(*tiny("awkward"))
    assert not traced.unfollowed
    # The stem's channels 0-2 are split off, 4 and 6 are sliced out, 3, 5 and 7 are neither.
    assert sorted(g.width for g in traced.groups if g.name.startswith("stem")) == [2, 3, 3]
    used = {s.tensor for g in traced.groups if g.name.startswith("stem") for s in g.slices}
    assert {"twice.weight", "one_name.weight", "right.weight", "up.weight"} <= used


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0 else x


class Looping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.abs().max())):
            x = x + 1
        return self.conv(x)


def test_a_submodule_that_branches_on_data_keeps_its_channels_and_is_reported():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), Branching(), nn.Conv2d(8, 7, 1), nn.Conv2d(7, 2, 1)
    ).eval()
    traced = trace(model, torch.randn(1, 3, 4, 4))
    assert widths(traced) == {"0": 6, "3": 7}
    (reported,) = traced.unfollowed
    assert reported.node == "2"
    assert reported.source.startswith("tracing/test_trace.py:")
    assert "control flow" in reported.reason


def test_a_model_that_branches_on_data_has_no_groups_and_is_copied_whole():
    model = Looping()
    traced = trace(model, torch.randn(1, 3, 4, 4))
    assert traced.groups == ()
    (reported,) = traced.unfollowed
    assert reported.source.startswith("tracing/test_trace.py:")
    copied = slim(traced, PruningPlan(model="looping", kept={}))
    assert copied is not model
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(copied(x), model(x))


def test_a_wrong_input_is_an_error_of_one_line():
    with pytest.raises(InputError, match=r"does not accept an input of shape \(1, 5, 8, 8\)"):
        trace(nn.Conv2d(3, 4, 3), torch.randn(1, 5, 8, 8))


class Between(nn.Module):
    """conv (12 channels) -> an operation -> linear or convolution, made to fit."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.operation = nn.Conv2d(3, 12, 3, padding=1), operation
        self.factor = nn.Parameter(torch.rand(12, 1, 1))
        out = self._before(torch.zeros(1, 3, 4, 4))
        self.last = nn.Linear(out.shape[-1], 2) if out.ndim < 4 else nn.Conv2d(out.shape[1], 2, 1)

    def _before(self, x: Tensor) -> Tensor:
        return self.operation(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self._before(x))


FOLLOWED = {
    "flatten": lambda x: torch.flatten(x, 1),
    "view with numbers": lambda x: x.view(-1, 192),
    "reshape by shape": lambda x: x.reshape(x.shape[0], x.shape[1] * 4, -1).mean(2),
    "view of a view": lambda x: x.view(x.size(0), 3, 4, 16).sum(3).view(-1, 12),
    "shuffle": lambda x: x.view(-1, 3, 4, 4, 4).transpose(1, 2).reshape(-1, 12, 4, 4),
    "F.channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "permute": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "squeeze": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(),
    "mean": lambda x: x.mean([2, 3]),
    "amax": lambda x: x.amax((-2, -1), keepdim=True),
    "narrow": lambda x: torch.cat([x.narrow(1, 2, 5), x.narrow(1, 0, 4)], 1),
    "slices": lambda x: torch.cat([x[:, 3:9], x[:, 1::3], x[:, : x.shape[1] // 2]], 1),
    "list": lambda x: torch.cat([x[:, [3, 1, -2, 3]], x[..., [2, 0]].repeat(1, 1, 1, 2)], 1),
    "list of none that may go": lambda x: x[:, :, [3, 0, 1, 2]],
    "norm over space": lambda x: x / (x.norm(2, (2, 3), keepdim=True) + 1),
    "one channel": lambda x: torch.cat([x, x[:, 5:6] * 2, x[:, 7].unsqueeze(1)], 1),
    "tensor_split": lambda x: torch.cat(x.tensor_split(3, 1)[:2], 1),
    "unequal chunks": lambda x: torch.cat(torch.chunk(x, 5, 1)[1:], 1),
    "pad channels": lambda x: F.pad(x, (1, 1, 0, 0, 2, 3)) * 1.5,
    "pad and add": lambda x: F.pad(x, [0, 0, 0, 0, 2, 2]) + F.pad(x, [0, 0, 0, 0, 4, 0]),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "gate over space": lambda x: x * torch.sigmoid(x[:, :1]),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2),
    "softmax over space": lambda x: (x.flatten(2).softmax(-1) * 16 - 1).amax(-1),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, 12, 4, 4),
    "flip": lambda x: x.flip(3),
    "square root of a sum": lambda x: (x * x + 1).sqrt() - 1,
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed_operations_slim_to_the_masked_model(name, masked, random_plan):
    torch.manual_seed(0)
    model = Between(FOLLOWED[name]).eval().double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    traced = trace(model, x)
    assert not traced.unfollowed
    assert traced.groups
    for seed in range(4):
        plan = random_plan(traced, seed)
        expected = masked(traced, plan)(x)
        assert torch.allclose(slim(traced, plan)(x), expected, rtol=1e-10, atol=1e-13)


KEPT = {
    "softmax over channels": (lambda x: x.softmax(1), "mixes all channels"),
    "mean over channels": (lambda x: x.mean(1, keepdim=True), "mixes all channels"),
    "mean over all": (lambda x: x * x.mean(), "mixes all channels"),
    "normalize": (lambda x: F.normalize(x), "mixes all channels"),
    "matmul": (lambda x: torch.matmul(x.flatten(2), x.flatten(2).transpose(1, 2)), "matmul"),
    "einsum": (lambda x: torch.einsum("nchh->nc", x), "einsum"),
    "gather": (lambda x: x[:, [3, 1, 2], 0], "indexing with a tensor, or with a list beside"),
    "roll": (lambda x: x.roll(1, 1), "no rule for roll"),
    "flip": (lambda x: x.flip(1), "flip along the channel axis"),
    "reflect": (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect").cumsum(1), "cumsum"),
    "outer product": (lambda x: x.mean((2, 3))[:, :, None] * x.mean((2, 3))[:, None], "axes"),
    "norm": (lambda x: x.norm(2, 1, keepdim=True), "norm mixes all channels"),
    "into the batch": (lambda x: x.flatten(0, 1)[:, None].repeat(1, 2, 1, 1), "batch axis"),
    "attribute": (lambda x: x.view(x.numel() // 192, 12, 16).mean(2), "no rule for numel"),
    "pool over channels": (
        lambda x: F.avg_pool1d(x.flatten(2).transpose(1, 2), 2),
        "channel axis",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_cannot_be_followed_is_kept_whole_and_reported(name):
    operation, reason = KEPT[name]
    traced = trace(Between(operation).eval(), torch.randn(2, 3, 4, 4))
    assert "first" not in widths(traced)
    (reported,) = traced.unfollowed
    assert reason in reported.reason
    assert "test_trace.py" in reported.source


class Twofold(nn.Module):
    """Weights that are used once where channels are followed and once where they are not."""

    def __init__(self, use: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 12, 1), nn.Linear(12, 12)
        self.scale, self.head, self.use = nn.Parameter(torch.rand(12)), nn.Linear(12, 2), use

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean((2, 3))
        return self.head(self.layer(x) * self.scale) + self.use(self, x)


TWOFOLD = {
    "as a function": lambda m, x: F.linear(x, m.layer.weight).sum(),
    "on another axis": lambda m, x: m.layer(torch.ones(2, 3, 12)).mean((1, 2))[:, None],
    "where it is transposed": lambda m, x: (m.layer.weight.t() * 2).sum(),
    "by itself": lambda m, x: (m.scale * 2).softmax(0).sum(),
}


@pytest.mark.parametrize("name", TWOFOLD)
def test_weights_used_twice_fit_both_uses(name, masked, random_plan):
    model, x = Twofold(TWOFOLD[name]).eval().double(), torch.randn(2, 3, 4, 4).double()
    if name == "on another axis":
        model.use = lambda m, x: m.layer(torch.ones(2, 3, 12).double()).mean((1, 2))[:, None]
    traced = trace(model, x)
    plan = random_plan(traced, 0)
    assert slim(traced, plan)(x).shape == (2, 2)
    assert torch.allclose(slim(traced, plan)(x), masked(traced, plan)(x), atol=1e-12)


def test_a_parameter_that_scales_channels_is_sliced_with_them():
    traced = trace(Twofold(lambda m, x: x[:, :1] * 0).eval(), torch.randn(2, 3, 4, 4))
    sliced = {s.tensor: g.width for g in traced.groups for s in g.slices}
    assert sliced["scale"] == sliced["head.weight"] == 12


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor, scale: Tensor | None = None, double: bool = False) -> Tensor:
        x = self.one(x) if scale is None else self.one(x) * scale
        return self.two(x * 2 if double else x)


def test_further_arguments_take_their_defaults():
    model, x = Optional(), torch.randn(1, 3, 4, 4)
    traced = trace(model, x)
    assert widths(traced) == {"one": 6}
    assert type(model) is Optional
    assert torch.equal(slim(traced, PruningPlan(model="o", kept={"one": range(6)}))(x), model(x))


def test_a_number_of_channels_used_as_a_number_keeps_them():
    traced = trace(Between(lambda x: x * x.shape[1] ** -0.5).eval(), torch.randn(1, 3, 4, 4))
    assert widths(traced) == {}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.LayerNorm([12, 4, 4]), "LayerNorm mixes all channels"),
        (nn.GroupNorm(1, 12), "GroupNorm with one group"),
        (nn.LocalResponseNorm(3), "no rule for LocalResponseNorm"),
        (nn.Softmax(1), "mixes all channels"),
    ],
)
def test_layers_that_mix_channels_keep_them(layer, reason):
    model = nn.Sequential(nn.Conv2d(3, 12, 1), layer, nn.Conv2d(12, 2, 1)).eval()
    traced = trace(model, torch.randn(1, 3, 4, 4))
    assert widths(traced) == {}
    (reported,) = traced.unfollowed
    assert reason in reported.reason


def test_a_layer_norm_over_space_lets_channels_through(masked, random_plan):
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.LayerNorm([4, 4]), nn.Conv2d(12, 2, 1)).eval()
    traced = trace(model, torch.randn(1, 3, 4, 4))
    assert widths(traced) == {"0": 12}


class Overridden(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flip(1)


def test_a_subclass_is_followed_through_its_own_forward():
    model = nn.Sequential(nn.Conv2d(3, 12, 1), Overridden(12, 6, 1), nn.Conv2d(6, 2, 1)).eval()
    traced = trace(model, torch.randn(1, 3, 4, 4))
    assert widths(traced) == {"0": 12}
    (reported,) = traced.unfollowed
    assert reported.reason == "flip along the channel axis"


class InPlace(nn.Module):
    """The branch's first activation changes the shortcut too: dropping it changes more."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 8, 1), nn.ReLU(inplace)
        self.one, self.two = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return (x + self.two(self.one(self.relu(x)))).mean((2, 3))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_branch_that_changes_its_shortcut_cannot_be_dropped(inplace):
    traced = trace(InPlace(inplace).eval(), torch.randn(1, 3, 4, 4))
    droppable = {group.name: group.droppable for group in traced.groups}
    assert droppable == {"one": not inplace}


def test_positions_of_a_flattened_tensor_are_neighbours(tiny):
    traced = trace(*tiny("vgg"))
    linear = [
        s for g in traced.groups for s in g.slices if s.axis == 1 and s.positions.shape == (6, 4)
    ]
    assert np.array_equal(linear[0].positions, np.arange(24).reshape(6, 4))


def test_channels_that_own_nothing_are_no_group():
    traced = trace(
        Between(lambda x: F.pad(x, (0, 0, 0, 0, 4, 4))[:, 4:16]), torch.ones(1, 3, 4, 4)
    )
    assert widths(traced) == {"first": 12}
