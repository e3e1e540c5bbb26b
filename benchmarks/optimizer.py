"""SGD and AdamW by the kind of normalisation: ``python benchmarks/optimizer.py``, three minutes.

Three small networks, alike but for their normalisation, are trained on the digits (12 epochs) and,
from the dense network of the better optimiser, half of every channel group is fine-tuned with
distillation (4 epochs, 60 steps): top-1 on the 597 test images, for each of two seeds. What
edgeprune takes for the network, at the usual rate, is marked.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import trace
from edgeprune.prune.training import loop
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.dense import DIGITS
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import DivergenceError, train
from edgeprune.prune.training.optimizer import ADAMW_DECAY, ADAMW_RATE, trained_by_adamw
from edgeprune.prune.training.recipe import Recipe

SEEDS = 0, 1
TRIED = (
    *(("SGD", 0.05), ("SGD", 0.01), ("SGD", 0.003)),
    *(("AdamW", 0.0003), ("AdamW", 0.001), ("AdamW", 0.003)),
)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm and two linear layers on the last axis, LayerScale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.wide = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.narrow, self.gamma = (
            nn.Linear(4 * width, width),
            nn.Parameter(torch.full((width,), 0.1)),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.narrow(F.gelu(self.wide(y))) * self.gamma).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    body = [nn.Conv2d(3, 24, 4, 4), ChannelNorm(24), ConvNeXtBlock(24), ConvNeXtBlock(24)]
    body += [ChannelNorm(24), nn.Conv2d(24, 48, 2, 2), ConvNeXtBlock(48), ConvNeXtBlock(48)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(48), nn.Linear(48, 10)]
    return nn.Sequential(*body, *head)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, with a normalisation of choice."""

    def __init__(self, i: int, o: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), norm(o)
        self.conv2, self.norm2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), norm(o)
        self.shortcut = nn.Identity() if i == o else nn.Conv2d(i, o, 1, stride)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def resnet(norm: Callable[[int], nn.Module]) -> nn.Module:
    blocks = [ResidualBlock(i, o, s, norm) for i, o, s in ((16, 16, 1), (16, 32, 2), (32, 32, 1))]
    stem = [nn.Conv2d(3, 16, 3, 2, 1), norm(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ConvNeXt-like (LayerNorm)": convnext,
    "ResNet of GroupNorm": lambda: resnet(lambda width: nn.GroupNorm(8, width)),
    "ResNet of BatchNorm": lambda: resnet(nn.BatchNorm2d),
}


@contextmanager
def optimised_by(kind: str) -> Iterator[None]:
    """Train every network by SGD or AdamW, whatever its layers; the recipe's rate is taken."""
    usual = loop.optimizer_for

    def made(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        learning = list(model.parameters())
        if kind == "AdamW":
            return torch.optim.AdamW(learning, lr=recipe.lr, weight_decay=ADAMW_DECAY)
        decay = recipe.weight_decay
        return torch.optim.SGD(learning, recipe.lr, recipe.momentum, 0, decay, nesterov=True)

    loop.optimizer_for = made
    try:
        yield
    finally:
        loop.optimizer_for = usual


def read(start: nn.Module, images: DataSet, recipe: Recipe, teacher: nn.Module | None) -> str:
    """Top-1 of every seed after a training, in per cent."""
    found = []
    for seed in SEEDS:
        try:
            recipe_of_seed = Recipe(**{**vars(recipe), "seed": seed})
            model = train(start, images.train, recipe_of_seed, teacher=teacher).model
            found.append(f"{100 * evaluate(model, images.test).accuracy:.1f}")
        except DivergenceError:
            found.append("diverged")
    return ", ".join(found)


def main() -> None:
    """Print a table in Markdown."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    images = datasets.load("digits")
    machine = check_device("local://").machine
    print(f"{machine['cpu']}, {machine['cores']} cores, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| network | dense or slim | optimiser, highest rate | top-1 of each seed |")
    print("|---|---|---|---|")
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        fresh = make()
        usual = "AdamW" if trained_by_adamw(fresh) else "SGD"
        for kind, rate in (("SGD", DIGITS.lr), ("AdamW", ADAMW_RATE * DIGITS.lr)):
            recipe = Recipe(**{**vars(DIGITS), "lr": rate})
            with optimised_by(kind):
                found = read(fresh, images, recipe, None)
                if kind == usual:
                    dense = train(fresh, images.train, recipe).model
            show(name, "dense", (kind, rate), found, kind == usual)
        start = halved(dense, images)
        for kind, rate in TRIED:
            with optimised_by(kind):
                found = read(start, images, Recipe(epochs=4, batch=64, lr=rate), dense)
            taken = kind == usual and rate in (Recipe().lr, ADAMW_RATE * Recipe().lr)
            show(
                name,
                "slim",
                (kind, rate),
                found,
                taken,
            )


def halved(dense: nn.Module, images: DataSet) -> nn.Module:
    """The network with a random half of every channel group, BatchNorm recalibrated."""
    traced = trace(dense, torch.zeros(1, *images.input_shape))
    generator = torch.Generator().manual_seed(0)
    kept = {
        g.name: tuple(
            sorted(torch.randperm(g.width, generator=generator)[: g.width // 2].tolist())
        )
        for g in traced.groups
    }
    return recalibrate(slim(traced, PruningPlan(model="half", kept=kept)), images.train)


def show(name: str, size: str, optimiser: tuple[str, float], found: str, taken: bool) -> None:
    said = f"{optimiser[0]}, {optimiser[1]:g}{' (taken)' if taken else ''}"
    print(f"| {name} | {size} | {said} | {found} |", flush=True)


if __name__ == "__main__":
    main()
