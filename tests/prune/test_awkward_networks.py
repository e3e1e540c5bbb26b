"""Kinds of code that pruners get wrong in silence: slim networks answer as the masked ones."""

import types
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.slimming.proof import carried
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import check
from edgeprune.prune.tracing.trace import trace
from tests.models import draw_plan, lively, whole


class Written(nn.Module):
    """A network whose forward function is given."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.step = forward
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.step(self, F.relu(self.stem(x))).mean((2, 3)))


def conv(i: int, o: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, padding=1)


def gate_first(net: nn.Module, x: Tensor) -> Tensor:
    return x + net.act(torch.sigmoid(net.gate(x)) * x - 0.7)


def one_channel_added(net: nn.Module, x: Tensor) -> Tensor:
    return net.b(net.gate(x) + x)


def alias_before(net: nn.Module, x: Tensor) -> Tensor:
    h = net.relu(net.norm(x))
    return x + net.b(F.relu(net.a(h)))


def alias_after(net: nn.Module, x: Tensor) -> Tensor:
    y = x + net.b(F.relu(net.a(x)))
    y = net.relu(net.norm(y.view(y.shape)))
    return net.c(torch.cat([x, y], 1))


def sliced_inside(net: nn.Module, x: Tensor) -> Tensor:
    return x + net.b(F.relu(net.a(x))[:, 1:9])


def numpy_words(net: nn.Module, x: Tensor) -> Tensor:
    left, right = torch.chunk(input=torch.cat([x, net.a(x)], axis=1), chunks=2, dim=1)
    return (left + right) * x.mean(axis=(2, 3), keepdims=True)


def sizes(net: nn.Module, x: Tensor) -> Tensor:
    y = F.interpolate(net.a(F.max_pool2d(x, 2)), size=x.shape[2:])
    return net.b(y) * F.avg_pool2d(x, x.size()[2:])


def expanded(net: nn.Module, x: Tensor) -> Tensor:
    gate = torch.sigmoid(net.a(F.adaptive_avg_pool2d(x, 1)))
    return net.b(x * gate.expand_as(x))


def scaled(net: nn.Module, x: Tensor) -> Tensor:
    return x + net.gamma * net.b(F.gelu(net.a(x)))


WRITTEN: dict[str, Callable[[], nn.Module]] = {
    "gate first": lambda: Written(gate_first, gate=nn.Conv2d(8, 1, 1), act=nn.PReLU(8)),
    "one channel added": lambda: Written(one_channel_added, gate=nn.Conv2d(8, 1, 1), b=conv(8, 8)),
    "alias before": lambda: Written(
        alias_before, norm=nn.Identity(), relu=nn.ReLU(True), a=conv(8, 6), b=conv(6, 8)
    ),
    "alias after": lambda: Written(
        alias_after,
        norm=nn.Dropout(),
        relu=nn.ReLU(True),
        a=conv(8, 6),
        b=conv(6, 8),
        c=conv(16, 8),
    ),
    "slice inside a branch": lambda: Written(sliced_inside, a=conv(8, 12), b=conv(8, 8)),
    "numpy's words": lambda: Written(numpy_words, a=conv(8, 8)),
    "sizes": lambda: Written(sizes, a=conv(8, 8), b=conv(8, 8)),
    "expand_as": lambda: Written(expanded, a=nn.Conv2d(8, 8, 1), b=conv(8, 8)),
    "scale on a branch": lambda: Written(
        scaled, a=conv(8, 10), b=conv(10, 8), gamma=nn.Parameter(torch.rand(8, 1, 1))
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_slim_networks_answer_as_the_masked_one(kind: str) -> None:
    torch.manual_seed(0)
    model = lively(WRITTEN[kind]()).eval().double()
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -1, 1)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    traced = trace(model, x)
    assert not traced.unfollowed
    assert "stem" in {group.name for group in traced.groups}
    with torch.no_grad():
        assert torch.allclose(slim(traced, whole(traced))(x), model(x), rtol=1e-10, atol=1e-12)
    cost = CostModel(traced)
    for seed in range(6):
        plan = draw_plan(traced, seed, drop=0.6)
        thin = slim(traced, plan, fold_constants=False)
        with torch.no_grad():
            found = thin(x)
        assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)
        widths = torch.tensor([[len(kept) for kept in check(plan, traced.groups)]]).numpy()
        assert cost.params(widths) == sum(p.numel() for p in thin.parameters())


def test_a_branch_that_writes_into_its_input_through_an_alias_is_not_droppable() -> None:
    traced = trace(WRITTEN["alias before"]().eval(), torch.randn(1, 3, 8, 8))
    assert not traced.blocks
    traced = trace(WRITTEN["alias after"]().eval(), torch.randn(1, 3, 8, 8))
    assert [block.name for block in traced.blocks] != []


def _hooked(net: nn.Module) -> None:
    net.register_forward_pre_hook(lambda module, given: (given[0] * 2 - 1,))


def _answers_doubled(net: nn.Module) -> None:
    net.register_forward_hook(lambda module, given, answer: answer * 2)


def _patched(net: nn.Module) -> None:
    own = type(net).forward
    net.forward = types.MethodType(lambda self, x: own(self, x.flip(1)), net)  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [_hooked, _answers_doubled, _patched])
def test_hooks_and_a_forward_of_the_root_are_part_of_the_network(
    change: Callable[[nn.Module], None],
) -> None:
    torch.manual_seed(0)
    model, x = WRITTEN["sizes"]().eval(), torch.randn(2, 3, 8, 8)
    plain = model(x)
    change(model)
    traced = trace(model, x)
    assert not torch.allclose(model(x), plain)
    assert torch.allclose(slim(traced, whole(traced))(x), model(x), atol=1e-6)


class Remembers(nn.Module):
    """What torch.fx cannot see: the answer depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 8, 1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x) * self.calls


def test_a_graph_that_answers_otherwise_than_the_model_is_refused() -> None:
    traced = trace(Remembers().eval(), torch.randn(1, 3, 4, 4))
    assert not traced.groups
    assert "other answers than the model" in traced.unfollowed[0].reason


def test_masks_and_weights_that_hooks_compute_can_be_copied_where_nothing_is_pruned() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.utils.spectral_norm(nn.Linear(12, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1)) if x.sum() > -1e9 else x

    model, x = Branches().eval(), torch.randn(1, 3, 2, 2)
    model(x)
    traced = trace(model, x)
    assert torch.equal(slim(traced, whole(traced))(x), model(x))
