"""The network whose channels are judged by hand, and problems to search on by hand."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.arrays import Widths
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.evaluator import Score
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of
from tests.problems import noise_data, tiny_problem


class Judged(nn.Module):
    """One residual stream (stem), one branch group (conv1), one group of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv1, self.bn1 = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.bn2 = nn.Conv2d(5, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.hidden, self.out = nn.Linear(6, 4), nn.Linear(4, 3)

    def maps(self, x: Tensor) -> dict[str, list[Tensor]]:
        """The maps of each group, once more and without the library."""
        first = F.relu(self.bn0(self.stem(x)))
        branch = F.relu(self.bn1(self.conv1(first)))
        second = F.relu(self.bn2(self.conv2(branch)) + first)
        hidden = F.relu(self.hidden(second.mean((2, 3))))
        return {"stem": [first, second], "conv1": [branch], "hidden": [hidden[:, :, None, None]]}

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.bn0(self.stem(x)))
        branch = F.relu(self.bn1(self.conv1(first)))
        second = F.relu(self.bn2(self.conv2(branch)) + first)
        logits: Tensor = self.out(F.relu(self.hidden(second.mean((2, 3)))))
        return logits


@pytest.fixture
def judged() -> Callable[[float], nn.Module]:
    """Makes the network, evaluating; its BatchNorm scales lie between a number and 1.5."""

    def make(least_scale: float) -> nn.Module:
        torch.manual_seed(3)
        model = Judged()
        for norm in (model.bn0, model.bn1, model.bn2):
            nn.init.uniform_(norm.weight, least_scale, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
        return model.eval()

    return make


GROUPS = {
    "residual": (
        ("stem", 16, 0, None, False),
        ("a.conv1", 16, 0, "a", True),
        ("stream", 24, 1, None, False),
        ("b.conv1", 24, 1, "b", False),
        ("c.conv1", 24, 1, "c", True),
        ("d.conv1", 24, 1, "d", True),
    ),
    "bottleneck": (
        ("stem", 16, 0, None, False),
        ("a.conv1", 8, 0, "a", True),
        ("a.conv2", 12, 0, "a", True),
        ("b.conv1", 12, 1, "b", True),
        ("b.conv2", 8, 1, "b", True),
    ),
    "plain": (("one", 16, 0, None, False), ("two", 24, 1, None, False), ("six", 32, 2, None, 0)),
}


def space_of(kind: str) -> PruningSpace:
    """Groups by hand; their widths go in steps of 4."""
    groups = tuple(
        group_of(n, w, stage=s, block=b, droppable=bool(d)) for n, w, s, b, d in GROUPS[kind]
    )
    grids = [(*((0,) if g.droppable else ()), *range(4, g.width + 1, 4)) for g in groups]
    return PruningSpace(groups, tuple(grids))


def costs_of(space: PruningSpace) -> Costs:
    """Every group that widens makes each cost grow; MACs are products, latency nearly a sum."""
    price = np.linspace(3.0, 1.0, len(space.groups))

    def macs(widths: Widths) -> Any:
        first, rest = widths[:, :1], widths[:, 1:]
        return 27 * first[:, 0] * price[0] + ((rest + 2) * (first + 8) * price[1:]).sum(1)

    def latency(widths: Widths) -> Any:
        return 20.0 + widths @ price + 0.02 * macs(widths)

    return Costs(space.full, (latency, macs, lambda widths: 10 + widths.sum(1)))


class Judge:
    """Stands for the evaluator: every channel has a worth, and losing much hurts more than twice.

    A network distilled for long gets back half of what it lost through thinness, nothing of its
    depth; in few steps less.
    """

    def __init__(self, space: PruningSpace, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.space = space
        self.worth = [generator.random(group.width) ** 3 for group in space.groups]
        self.weight = generator.uniform(0.05, 0.6, len(space.groups))
        self.asked: list[PruningPlan] = []
        self.refitted_plans: list[PruningPlan] = []
        self.distilled_plans: list[tuple[PruningPlan, int]] = []
        self.spoilt: Callable[[PruningPlan], bool] = lambda plan: False
        self.credits: list[tuple[PruningPlan, str]] = []

    def credit(self, plan: PruningPlan, rule: str) -> None:
        self.credits.append((plan, rule))

    def loss(self, plan: PruningPlan) -> float:
        """Plain to compute, and known to nobody who searches."""
        if self.spoilt(plan):
            return float("nan")
        lost = [
            weight * (1 - worth[list(plan.kept[group.name])].sum() / worth.sum())
            for group, worth, weight in zip(
                self.space.groups, self.worth, self.weight, strict=True
            )
        ]
        return float(0.3 + sum(lost) + 0.5 * sum(lost) ** 2)

    def score(self, plan: PruningPlan) -> Score:
        self.asked.append(plan)
        loss = self.loss(plan)
        return Score(loss, 1 / (1 + loss))

    def refitted(self, plan: PruningPlan) -> Score:
        loss = 0.1 + 0.8 * self.loss(plan) + 0.02 * self._branches(plan)
        self.refitted_plans.append(plan)
        return Score(loss, 1 / (1 + loss))

    at_once = 1

    def score_many(self, plans: Sequence[PruningPlan]) -> Iterator[Score]:
        return map(self.score, plans)

    def refitted_many(self, plans: Sequence[PruningPlan]) -> Iterator[Score]:
        return map(self.refitted, plans)

    def distilled_many(self, plans: Sequence[PruningPlan], steps: int) -> Iterator[Score]:
        return (self.distilled(plan, steps) for plan in plans)

    def alone(self, saliency: Tensor, index: int, width: int) -> float:
        """Loss added by keeping the first channels of one group by a saliency."""
        worth = self.worth[index]
        kept = saliency.argsort(descending=True, stable=True)[:width].numpy()
        return float(self.weight[index] * (1 - worth[kept].sum() / worth.sum()))

    def _branches(self, plan: PruningPlan) -> int:
        return sum(not plan.kept[g.name] for g in self.space.groups)

    def distilled(self, plan: PruningPlan, steps: int) -> Score:
        self.distilled_plans.append((plan, steps))
        branches = self._branches(plan)
        back = 0.5 * steps / (steps + 20)
        loss = 0.3 * back + self.loss(plan) * (1 - back) + 0.05 * branches
        return Score(loss, 1 / (1 + loss))


def saliencies_of(judge: Judge) -> dict[str, tuple[Tensor, ...]]:
    """One criterion that knows the worths nearly, and one that knows those of every second."""
    generator = np.random.default_rng(1)

    def noisy(noise: float) -> list[Tensor]:
        blurred = [w + noise * generator.random(len(w)) for w in judge.worth]
        return [torch.from_numpy(b).float() for b in blurred]

    near, far = noisy(0.1), noisy(2.0)
    mixed = [near[i] if i % 2 else far[i] for i in range(len(near))]
    other = [far[i] if i % 2 else near[i] for i in range(len(near))]
    return {"taylor": tuple(mixed), "l1": tuple(other), "wavelet": tuple(near)}


@pytest.fixture
def spaces() -> Callable[[str], PruningSpace]:
    """Spaces by name: residual, bottleneck (two groups to a branch), plain (no branches)."""
    return space_of


@pytest.fixture
def priced() -> Callable[[PruningSpace], Costs]:
    """Costs of such a space."""
    return costs_of


@pytest.fixture
def coded() -> Callable[[str], Encoding]:
    """An encoding of such a space by two criteria."""

    def make(kind: str) -> Encoding:
        space = space_of(kind)
        return Encoding(space, tuple(saliencies_of(Judge(space, 0)).values())[:2])

    return make


@pytest.fixture
def judged_problem() -> Callable[..., Problem]:
    """A problem whose evaluator is a :class:`Judge`: searches run on it in no time."""

    def make(kind: str, *, effort: int = 120, seed: int = 0, **given: Any) -> Problem:
        space = space_of(kind)
        judge = Judge(space, 0)
        problem = Problem(
            trace=cast(Any, None),
            space=space,
            costs=costs_of(space),
            images=cast(Any, None),
            settings=Settings(seed=seed),
            effort=Effort(evaluations=effort),
            criteria_names=("taylor", "l1"),
            **given,
        )
        saliencies = saliencies_of(judge)
        vars(problem)["criterion"] = saliencies.__getitem__
        vars(problem)["damage"] = lambda name, index, width: judge.alone(
            saliencies[name][index], index, width
        )
        vars(problem)["drops"] = {
            str(g.block): float(
                sum(
                    judge.weight[i]
                    for i, h in enumerate(space.groups)
                    if h.droppable and h.block == g.block
                )
            )
            for g in space.groups
            if g.droppable
        }
        vars(problem)["evaluator"] = judge
        return problem

    return make


@pytest.fixture
def noise() -> DataSet:
    """Images to search with; those to test with are sealed."""
    return noise_data()


@pytest.fixture
def real_problem() -> Callable[..., Problem]:
    """Makes a problem on one of the tiny networks with the true evaluator, and little effort."""
    return tiny_problem
