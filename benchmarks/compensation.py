"""Accuracy of slim networks before any fine-tuning, recalibrated alone and refitted.

    python benchmarks/compensation.py SHARED [--model resnet20] [--rules l1 depth] [--limits 0.7]
    python benchmarks/compensation.py SHARED --steps 50 100 200 400

SHARED holds ``data/cifar10-jpeg.tar.xz`` and ``data/checkpoints/``. Networks are chosen by rules
at predicted shares of the dense latency; 5,000 held-out images judge, of ResNet-56 the test
images, since it has seen the others. Each draw solves on another 512 training images. With
``--steps`` both are distilled for so many steps, one seed, the refitted ones also at the lower
learning rate of 0.02.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from contest.network import WEIGHTS, DenseNetwork, public_network
from torch import nn

from edgeprune.prune.images.datasets import sample
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import train
from edgeprune.prune.training.recipe import Recipe

RULES = ("l1", "uniform", "depth")
IMAGES = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", choices=sorted(WEIGHTS), default="resnet20")
    parser.add_argument("--rules", nargs="*", choices=RULES, default=RULES)
    parser.add_argument("--limits", type=float, nargs="*", default=[0.7, 0.5])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="*", default=[])
    parser.add_argument("--work", type=Path, help="where images are unpacked and kept")
    given = parser.parse_args()
    with public_network(given.model, given.shared, given.work) as dense:
        print(f"dense: {accuracy(dense, dense.model):.2f} %")
        for name, plan in plans(dense, given.rules, given.limits):
            if given.steps:
                distilled(dense, name, plan, given.steps)
            else:
                untrained(dense, name, plan, given.draws)


def plans(
    dense: DenseNetwork, rules: Sequence[str], limits: Sequence[float]
) -> Iterator[tuple[str, PruningPlan]]:
    """A network of every rule at every latency, by its name."""
    problem = dense.problem(effort=Effort(rungs=()))
    for rule in rules:
        search = registry.searcher(rule, problem)
        # The device's grid is coarse: a rule may choose the same network for both.
        choices = [search(Limits(latency=limit)) for limit in limits]
        found = {tuple(choice.widths): choice for choice in choices}
        for choice in found.values():
            yield f"{rule} at {choice.ratios[0]:.2f}x", choice.plan(dense.name)


def untrained(dense: DenseNetwork, name: str, plan: PruningPlan, draws: int) -> None:
    """Print accuracies without a gradient step; mean and standard deviation over the draws."""
    start = time.perf_counter()
    slimmed = recalibrated(dense, slim(dense.trace, plan))
    found = [accuracy(dense, refitted(dense, plan, draw)) for draw in range(draws)]
    seconds = (time.perf_counter() - start) / draws
    print(
        f"{name:20} recalibrated {accuracy(dense, slimmed):.2f} %, refitted "
        f"{np.mean(found):.2f} +- {np.std(found):.2f} %, {seconds:.1f} s a draw",
        flush=True,
    )


def distilled(dense: DenseNetwork, name: str, plan: PruningPlan, lengths: list[int]) -> None:
    """Print accuracies after distillations of several lengths."""
    arms = {
        "recalibrated, lr 0.05": (recalibrated(dense, slim(dense.trace, plan)), Recipe()),
        "refitted, lr 0.05": (refitted(dense, plan, 0), Recipe()),
        "refitted, lr 0.02": (refitted(dense, plan, 0), Recipe(lr=0.02)),
    }
    for steps in lengths:
        for arm, (network, recipe) in arms.items():
            recipe = replace(recipe, steps=steps)
            trained = train(network, dense.images.train, recipe, teacher=dense.model)
            print(
                f"{name:20} {steps:4} steps, {arm}: {accuracy(dense, trained.model):.2f} %",
                flush=True,
            )


def refitted(dense: DenseNetwork, plan: PruningPlan, draw: int) -> nn.Module:
    pixels, _ = next(iter(sample(dense.images.train, IMAGES, seed=draw).batches(IMAGES)))
    return recalibrated(dense, refit(slim(dense.trace, plan), dense.trace, plan, pixels).model)


def recalibrated(dense: DenseNetwork, network: nn.Module) -> nn.Module:
    return recalibrate(network, dense.images.train)


def accuracy(dense: DenseNetwork, network: nn.Module) -> float:
    """Top-1 in percent, on images that the dense network has not seen."""
    unseen = dense.images.test if dense.name == "resnet56" else dense.images.val
    return 100 * evaluate(network, unseen).accuracy


if __name__ == "__main__":
    main()
