import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.space.widths import build as build_space
from edgeprune.prune.tracing.trace import trace


def flop_count(model: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // 2 // len(x)


def widths_of(plan: PruningPlan, traced) -> np.ndarray:
    return np.array([[len(kept) for kept in check(plan, traced.groups)]])


def test_costs_are_those_of_the_slim_model(net, random_plan):
    model, x = net
    traced = trace(model, x)
    cost = CostModel(traced)
    for seed in range(6):
        plan = random_plan(traced, seed)
        thin = slim(traced, plan)
        widths = widths_of(plan, traced)
        assert cost.macs(widths).tolist() == [flop_count(thin, x)]
        assert cost.params(widths).tolist() == [sum(p.numel() for p in thin.parameters())]


def test_zero_one_shortcuts_are_counted_apart(random_plan):
    x = torch.randn(1, 3, 32, 32)
    rewritten, padded = (
        trace(build(ModelSpec("resnet20", kwargs={"shortcut": form})).eval(), x)
        for form in ("A-conv", "A")
    )
    cost, published = CostModel(rewritten), CostModel(padded)
    full = np.array([[g.width for g in rewritten.groups]])
    full_padded = np.array([[g.width for g in padded.groups]])
    # Figures of the published network: 40.55 M MACs, 0.27 M parameters.
    assert cost.macs(full) == published.macs(full_padded) == 40_551_040
    assert cost.params(full) == published.params(full_padded) == 269_722
    assert published.shortcut_macs(full_padded) == 0
    assert cost.shortcut_macs(full) == 16 * 32 * 16**2 + 32 * 64 * 8**2
    for seed in range(4):
        plan = random_plan(rewritten, seed)
        widths = widths_of(plan, rewritten)
        total = cost.macs(widths) + cost.shortcut_macs(widths)
        assert total == flop_count(slim(rewritten, plan), x)


def test_a_population_costs_what_its_members_cost(tiny):
    traced = trace(*tiny("mobilenet"))
    cost = CostModel(traced)
    space = build_space(traced.groups, [1])
    drawn = np.random.default_rng(0).integers(0, space.full + 1, (50, len(space.groups)))
    population = space.snap(drawn)
    one_by_one = [int(cost.macs(widths[None])[0]) for widths in population]
    assert cost.macs(population).tolist() == one_by_one
    assert cost.macs(population).dtype == np.int64
    assert cost.macs(population[:0]).shape == (0,)


def test_hand_arithmetic():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2), nn.Flatten(),
        nn.Linear(4 * 9, 10),
    ).eval()  # fmt: skip
    cost = CostModel(trace(model, torch.randn(2, 3, 8, 8)))
    widths = np.array([[8, 4], [5, 3]])
    macs = [64 * 27 * a + 9 * 9 * a * b + 9 * b * 10 for a, b in widths.tolist()]
    params = [28 * a + 9 * a * b + b + 9 * b * 10 + 10 for a, b in widths.tolist()]
    assert cost.macs(widths).tolist() == macs
    assert cost.params(widths).tolist() == params


class Parallel(nn.Module):
    """A branch with a convolution that touches no inner group, and one reused outside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 6, 1)
        self.beside, self.shared = nn.Conv2d(6, 6, 1, bias=False), nn.Conv2d(6, 6, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.stem(x))
        branch = self.shared(self.two(F.relu(self.one(x))) * 2 + self.beside(x))
        return self.head(x + branch)


def test_a_dropped_branch_costs_nothing_even_where_no_inner_width_is_a_factor():
    traced = trace(Parallel().eval(), torch.randn(1, 3, 4, 4))
    assert [g.droppable for g in traced.groups] == [False, False, True]
    cost = CostModel(traced)
    x = torch.randn(1, 3, 4, 4)
    for widths in np.array([[[6, 6, 5]], [[4, 3, 0]], [[2, 5, 2]], [[1, 1, 0]]]):
        kept = {g.name: tuple(range(w)) for g, w in zip(traced.groups, widths[0], strict=True)}
        thin = slim(traced, PruningPlan(model="p", kept=kept))
        assert cost.macs(widths) == flop_count(thin, x)
        assert cost.params(widths) == sum(p.numel() for p in thin.parameters())


class Tied(nn.Module):
    """Two layers of one weight, the first of them in a branch that can be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1, bias=False)
        self.two, self.other = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1, bias=False)
        self.mid = nn.Conv2d(6, 6, 1)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.two(F.relu(self.mid(F.relu(self.one(x)))))
        return self.other(x).mean((2, 3))


def test_layers_that_share_a_weight_cost_each_and_have_it_once(random_plan) -> None:
    model, x = Tied().eval(), torch.randn(1, 3, 8, 8)
    traced = trace(model, x)
    cost = CostModel(traced)
    assert traced.blocks
    plans = [random_plan(traced, seed) for seed in range(3)]
    dropped = {g.name: () if g.droppable else tuple(range(g.width)) for g in traced.groups}
    for plan in [*plans, PruningPlan(model="test", kept=dropped)]:
        thin, widths = slim(traced, plan), widths_of(plan, traced)
        assert cost.macs(widths).tolist() == [flop_count(thin, x)]
        assert cost.params(widths).tolist() == [sum(p.numel() for p in thin.parameters())]


class Windows(nn.Module):
    """A linear layer on windows of the image, which lie on the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tokens, self.last = nn.Conv2d(3, 6, 1), nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)  # (N, 8, 8, 6)
        x = x.reshape(-1, 2, 4, 2, 4, x.shape[-1]).transpose(2, 3)
        x = self.tokens(x.reshape(-1, 16, x.shape[-1]))  # (N * 4, 16, 5)
        return self.last(x.reshape(-1, 64, x.shape[-1]).mean(1))


@pytest.mark.parametrize("images", [1, 2])
def test_windows_beside_the_images_are_counted(images: int, random_plan) -> None:
    model, x = Windows().eval(), torch.randn(images, 3, 8, 8)
    traced = trace(model, x)
    plan = random_plan(traced, 0)
    widths = widths_of(plan, traced)
    assert CostModel(traced).macs(widths).tolist() == [flop_count(slim(traced, plan), x)]


@pytest.mark.parametrize("depth", [56])
def test_published_figures(depth):
    model = build(ModelSpec(f"resnet{depth}", kwargs={"shortcut": "A-conv"})).eval()
    traced = trace(model, torch.randn(1, 3, 32, 32))
    full = np.array([[g.width for g in traced.groups]])
    # He et al., table 6: 0.85 M parameters; the usual count is 125.5 M MACs.
    assert CostModel(traced).params(full) == 853_018
    assert CostModel(traced).macs(full) == 125_485_696
