"""Networks that nobody would write: every way of coupling channels with every other."""

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import check
from edgeprune.prune.tracing.trace import trace

Step = Callable[[nn.Module, list[Tensor]], Tensor]


class Grown(nn.Module):
    """A pool of tensors (N, C, 8, 8); each step adds one made from those before."""

    def __init__(self, seed: int, steps: int = 14) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.program: list[Step] = []
        self._choose = random.Random(seed)
        self._add(nn.Conv2d(3, 12, 3, padding=1), None)
        pool = [torch.zeros(2, 3, 8, 8)]
        pool.append(self.program[0](self, pool))
        kinds = [self._layer, self._join, self._cut, self._move, self._gate, self._again]
        while len(self.program) < steps:
            self._choose.choice(kinds)(pool)
            if len(self.program) >= len(pool):
                pool.append(self.program[-1](self, pool))
        self.head = nn.Linear(sum(x.shape[1] for x in pool[-4:]), 3)

    def _add(self, layer: nn.Module, source: int | None) -> None:
        self.layers.append(layer)
        number = len(self.layers) - 1
        at = 0 if source is None else source
        self.program.append(lambda net, pool: net.layers[number](pool[at]))

    def _some(self, pool: list[Tensor]) -> int:
        return self._choose.randrange(max(1, len(pool) - 5), len(pool))

    def _layer(self, pool: list[Tensor]) -> None:
        at = self._some(pool)
        width = pool[at].shape[1]
        divisors = [d for d in (1, 2, 3, 4, 6, width) if width % d == 0]
        groups = self._choose.choice(divisors)
        out = groups * self._choose.randint(1, max(1, 16 // groups))
        norm = self._choose.choice(divisors[1:] or [1])
        layers: list[Callable[[], nn.Module]] = [
            lambda: nn.Conv2d(width, out, 3, padding=1, groups=groups),
            lambda: nn.Conv2d(width, out, 1, groups=groups, bias=False),
            lambda: nn.ConvTranspose2d(width, out, 3, padding=1, groups=groups),
            lambda: nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()),
            lambda: nn.Sequential(nn.GroupNorm(norm, width), nn.SiLU()),
            lambda: nn.PReLU(width),
        ]
        self._add(self._choose.choice(layers)(), at)

    def _join(self, pool: list[Tensor]) -> None:
        at = self._some(pool)
        alike = [i for i in range(1, len(pool)) if pool[i].shape == pool[at].shape]
        other = self._choose.choice(alike)
        if self._choose.random() < 0.5:
            self.program.append(lambda net, pool: pool[at] + pool[other])
        elif pool[at].shape[1] + pool[self._some(pool)].shape[1] < 40:
            self.program.append(lambda net, pool: torch.cat([pool[at], pool[other]], 1))

    def _cut(self, pool: list[Tensor]) -> None:
        at = self._some(pool)
        width = pool[at].shape[1]
        if width < 4:
            return
        first = self._choose.randint(1, width - 2)
        cuts: list[Step] = [
            lambda net, pool: pool[at][:, first:],
            lambda net, pool: pool[at][:, :: 1 + first % 3],
            lambda net, pool: torch.split(pool[at], [first, width - first], 1)[1],
            lambda net, pool: pool[at].chunk(2, 1)[first % 2],
            lambda net, pool: pool[at].narrow(1, first, width - first),
        ]
        self.program.append(self._choose.choice(cuts))

    def _move(self, pool: list[Tensor]) -> None:
        at = self._some(pool)
        width = pool[at].shape[1]
        groups = self._choose.choice([d for d in (1, 2, 3, 4) if width % d == 0])

        def shuffle(net: nn.Module, pool: list[Tensor]) -> Tensor:
            n, c, h, w = pool[at].size()
            mixed = pool[at].view(n, groups, c // groups, h, w).transpose(1, 2)
            return mixed.reshape(n, -1, h, w)

        moves: list[Step] = [
            shuffle,
            lambda net, pool: F.channel_shuffle(pool[at], groups),
            lambda net, pool: F.pad(pool[at], (0, 0, 0, 0, groups, 2)),
            lambda net, pool: F.pixel_unshuffle(F.interpolate(pool[at][:, :6], scale_factor=2), 2),
            lambda net, pool: pool[at].permute(0, 2, 3, 1).flip(1).permute(0, 3, 1, 2),
            lambda net, pool: pool[at].unsqueeze(2).expand(-1, -1, 2, -1, -1)[:, :, 0],
        ]
        self.program.append(self._choose.choice(moves))

    def _gate(self, pool: list[Tensor]) -> None:
        at = self._some(pool)
        width = pool[at].shape[1]
        self.layers.append(
            nn.Sequential(nn.Conv2d(width, 5, 1), nn.ReLU(), nn.Conv2d(5, width, 1))
        )
        number = len(self.layers) - 1

        def gate(net: nn.Module, pool: list[Tensor]) -> Tensor:
            squeezed = pool[at].mean((2, 3), keepdim=True)
            return pool[at] * torch.sigmoid(net.layers[number](squeezed))

        self.program.append(gate)

    def _again(self, pool: list[Tensor]) -> None:
        at = self._some(pool)
        fitting = [
            number
            for number, layer in enumerate(self.layers)
            if isinstance(layer, nn.Conv2d) and layer.in_channels == pool[at].shape[1]
        ]
        if fitting:
            number = self._choose.choice(fitting)
            self.program.append(lambda net, pool: net.layers[number](pool[at]))

    def forward(self, x: Tensor) -> Tensor:
        pool = [x]
        for step in self.program:
            pool.append(step(self, pool))
        return self.head(torch.cat([y.mean((2, 3)) for y in pool[-4:]], 1))


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_slim_to_the_masked_model(seed, enliven, masked, random_plan):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = enliven(Grown(seed)).eval().double()
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    traced = trace(model, x)
    assert not traced.unfollowed
    cost = CostModel(traced)
    for number in range(3):
        plan = random_plan(traced, number, drop=0)
        thin = slim(traced, plan, fold_constants=False)
        expected = masked(traced, plan)(x)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            found = thin(x)
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
        widths = torch.tensor([[len(kept) for kept in check(plan, traced.groups)]]).numpy()
        widths = widths.reshape(1, len(traced.groups))
        assert cost.macs(widths) == counter.get_total_flops() // 2 // len(x)
        assert cost.params(widths) == sum(p.numel() for p in thin.parameters())
