"""Tiny networks, one for every way in which channels get coupled, and what they are judged by."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.tracing.trace import ChannelGroup, TensorSlice, Trace

Net = tuple[nn.Module, Tensor]


def conv(i: int, o: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)
    )


class Residual(nn.Module):
    """x + branch(x), then ReLU; the shortcut may be anything."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class Pad(nn.Module):
    """Option A: every second pixel, zero channels in front and behind."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 5))


class Squeeze(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(scale))


class Dense(nn.Module):
    def __init__(self, i: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, 8, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat([x, new], 1)


class Shuffle(nn.Module):
    """Split, branch, join, shuffle, as ShuffleNet V2 does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(conv(half, half, 1), nn.ReLU(), conv(half, half, groups=half))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        x = torch.cat((left, self.branch(right)), dim=1)
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w)
        return torch.transpose(x, 1, 2).contiguous().view(n, -1, h, w)


class Branches(nn.Module):
    def __init__(self, i: int) -> None:
        super().__init__()
        self.a = nn.Sequential(conv(i, 5, 1), nn.ReLU(inplace=True))
        self.b = nn.Sequential(conv(i, 6), nn.ReLU(inplace=True))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(i, 4, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x), self.pool(x)], 1)


class Awkward(nn.Module):
    """What real code does to a tracer, in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.one_name = nn.Conv2d(8, 8, 1)
        self.other_name = self.one_name
        self.right = nn.Conv2d(5, 7, 1)
        self.up = nn.ConvTranspose2d(8 + 7 + 3 + 2, 6, 2, stride=2)
        self.up_grouped = nn.ConvTranspose2d(6, 8, 2, stride=2, groups=2)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.head = nn.Linear(8 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(self.twice(F.relu(self.twice(x))) + x)
        x = F.relu(self.other_name(F.relu(self.one_name(x))))
        front, back = x.split([3, 5], 1)
        x = torch.cat([x + self.one_name(x), self.right(back), front, x[:, 4:8:2]], 1)
        x = self.up_grouped(F.relu(self.up(F.max_pool2d(x, 4)))) * self.scale
        x = F.dropout(F.adaptive_avg_pool2d(x, 2), 0.5, training=self.training)
        return self.head(x.reshape(x.shape[0], -1))


def head(width: int, classes: int = 5) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


def basic(i: int, o: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(i, o, 3, stride), nn.ReLU(), conv(o, o))


def bottleneck(width: int, inner: int, groups: int = 1) -> nn.Sequential:
    layers = [conv(width, inner, 1), nn.ReLU(), conv(inner, inner, groups=groups), nn.ReLU()]
    return nn.Sequential(*layers, conv(inner, width, 1))


def mobile(width: int, inner: int) -> nn.Sequential:
    layers = [conv(width, inner, 1), nn.ReLU6(), conv(inner, inner, groups=inner), nn.SiLU()]
    return nn.Sequential(*layers, Squeeze(inner), conv(inner, width, 1))


def _stem(width: int) -> list[nn.Module]:
    return [conv(3, width), nn.ReLU(inplace=True)]


NETS: dict[str, Callable[[], nn.Module]] = {
    "vgg": lambda: nn.Sequential(
        *_stem(8), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(6 * 4, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 5),
    ),
    "resnet": lambda: nn.Sequential(
        *_stem(8), Residual(basic(8, 8)), Residual(basic(8, 16, 2), conv(8, 16, 1, 2)),
        Residual(basic(16, 16)), *head(16),
    ),
    "resnet-pad": lambda: nn.Sequential(
        *_stem(8), Residual(basic(8, 8)), Residual(basic(8, 16, 2), Pad()),
        Residual(basic(16, 16)), *head(16),
    ),
    "bottleneck": lambda: nn.Sequential(
        *_stem(12), Residual(bottleneck(12, 8)), Residual(bottleneck(12, 6)), *head(12)
    ),
    "resnext": lambda: nn.Sequential(*_stem(12), Residual(bottleneck(12, 16, 8)), *head(12)),
    "grouped": lambda: nn.Sequential(*_stem(12), conv(12, 16, groups=2), nn.ReLU(), *head(16)),
    "mobilenet": lambda: nn.Sequential(*_stem(8), Residual(mobile(8, 12)), *head(8)),
    "densenet": lambda: nn.Sequential(*_stem(6), Dense(6), Dense(10), nn.AvgPool2d(2), *head(14)),
    "shufflenet": lambda: nn.Sequential(*_stem(16), Shuffle(16), Shuffle(16), *head(16)),
    "inception": lambda: nn.Sequential(*_stem(6), Branches(6), Branches(15), *head(15)),
    "groupnorm": lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.GroupNorm(4, 12), nn.ReLU(), conv(12, 8), nn.PReLU(8), *head(8)
    ),
    "awkward": Awkward,
}  # fmt: skip


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random BatchNorm statistics, so that a wrong channel shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-0.5, 0.5, generator=generator)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return model


def zero_out(traced: Trace, plan: PruningPlan, *, biases: bool = True) -> nn.Module:
    """The dense model with what makes removed channels at zero: the oracle of slimming.

    Without ``biases`` only the BatchNorm weights of removed channels are zeroed, and the
    weights of layers that have no bias.
    """
    model = copy.deepcopy(traced.model)
    named, modules = dict(model.named_parameters()), dict(model.named_modules())
    kept = check(plan, traced.groups)
    for group, stay in zip(traced.groups, kept, strict=True):
        gone = np.setdiff1d(np.arange(group.width), stay)
        for part in group.slices:
            owner = modules[part.tensor.rpartition(".")[0]]
            norm = isinstance(owner, nn.modules.batchnorm._BatchNorm)
            chosen = part.tensor.endswith("weight") and (
                norm or getattr(owner, "bias", owner) is None
            )
            chosen = chosen or biases
            made = 1 if getattr(owner, "transposed", False) and part.tensor.endswith("t") else 0
            if part.axis == made and part.tensor in named and chosen:
                at = torch.from_numpy(part.positions[gone].ravel())
                named[part.tensor].data.index_fill_(part.axis, at, 0)
    for block in traced.blocks:
        if not len(kept[block.groups[0]]):
            norms = [
                modules[str(node.target)]
                for node in block.branch
                if node.op == "call_module" and hasattr(modules[str(node.target)], "running_mean")
            ]
            norms[-1].weight.data.zero_()
            norms[-1].bias.data.zero_()
    return model


def whole(traced: Trace) -> PruningPlan:
    """The plan that keeps everything."""
    return PruningPlan(model="test", kept={g.name: tuple(range(g.width)) for g in traced.groups})


def draw_plan(traced: Trace, seed: int, drop: float = 0.3, least: float = 0.0) -> PruningPlan:
    """Random kept channels, at least the share ``least`` of every group.

    Every branch is dropped with probability ``drop``.
    """
    generator = np.random.default_rng(seed)
    kept: dict[str, Any] = {}
    for group in traced.groups:
        count = int(generator.integers(max(1, int(least * group.width)), group.width + 1))
        chosen = generator.choice(group.width, count, replace=False)
        kept[group.name] = tuple(sorted(int(i) for i in chosen))
    for block in traced.blocks:
        if generator.random() < drop:
            kept[traced.groups[block.groups[0]].name] = ()
    return PruningPlan(model="test", kept=kept)


def group_of(
    name: str,
    width: int,
    *,
    stage: int = 0,
    block: str | None = None,
    droppable: bool | None = None,
    slices: tuple[TensorSlice, ...] = (),
) -> ChannelGroup:
    """A channel group by hand; one inside a block can be dropped where nothing else is said."""
    return ChannelGroup(
        name=name,
        width=width,
        stage=stage,
        block=block,
        droppable=block is not None if droppable is None else droppable,
        slices=slices,
    )


def tiny(name: str) -> Net:
    """One of the networks in evaluation mode, float64, with a batch of two images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lively(NETS[name]()).eval().double()
        return model, torch.randn(2, 3, 8, 8, dtype=torch.float64)
