"""How well cheap scores rank networks by what they reach after distillation.

    python benchmarks/ranking.py SHARED --out ranking.jsonl [--networks 24] [--steps 400]
    python benchmarks/ranking.py SHARED --out ranking.jsonl --scores

SHARED holds ``data/cifar10-jpeg.tar.xz`` and ``data/checkpoints/resnet20-jpeg45k.pt``. Random
networks at a predicted 0.6x of the dense latency are distilled once each, which takes minutes a
network; those in ``--out`` are not distilled again. ``--scores`` then prints Kendall's tau
between each score and the accuracy after distillation on 5,000 held-out images: over all
networks, and over the better half, where a search has to choose.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from contest.network import DenseNetwork, public_network
from scipy.stats import kendalltau

from edgeprune.arrays import Floats, Genomes
from edgeprune.prune.search.evaluation import sensitivity
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import one_shot
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import train
from edgeprune.prune.training.recipe import Recipe

LIMIT, BATCH = 0.6, 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--scores", action="store_true", help="score what is distilled")
    parser.add_argument("--work", type=Path, help="where images are unpacked and kept")
    given = parser.parse_args()
    with public_network("resnet20", given.shared, given.work) as dense:
        if given.scores:
            scores(dense, read(given.out))
        else:
            distil(dense, given)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def distil(dense: DenseNetwork, given: argparse.Namespace) -> None:
    known = len(read(given.out))
    plans = list(drawn(dense.problem(), given.networks))
    recipe = Recipe(steps=given.steps, batch=BATCH)
    for number, plan in enumerate(plans[known:], known):
        started = time.monotonic()
        start = recalibrate(slim(dense.trace, plan), dense.images.train)
        trained = train(start, dense.images.train, recipe, teacher=dense.model)
        accuracy = evaluate(trained.model, dense.images.val).accuracy
        row = {"plan": plan.to_plain(), "accuracy": accuracy, "steps": given.steps}
        with given.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        spent = time.monotonic() - started
        print(f"{number}: {100 * accuracy:.2f} % after {given.steps} steps, {spent:.0f} s")


def drawn(problem: Problem, count: int) -> Iterator[PruningPlan]:
    """Random networks just under the limit, their channels by the wavelet order."""
    encoding = encoding_of(problem)
    limits = Limits(latency=LIMIT)

    def excess(genomes: Genomes) -> Floats:
        return limits.excess(problem.costs.ratios(encoding.widths(genomes)))

    generator = np.random.default_rng(0)
    found = one_shot.random_walks(encoding.choices, excess, encoding.full, count, generator)
    for genome in encoding.canonical(found):
        yield encoding.plan(genome)


def encoding_of(problem: Problem) -> Encoding:
    return Encoding(problem.space, (problem.criterion("wavelet"),))


def scores(dense: DenseNetwork, rows: Sequence[dict[str, Any]]) -> None:
    reached = np.array([row["accuracy"] for row in rows])
    plans = [PruningPlan.from_plain(row["plan"]) for row in rows]
    better = reached >= np.median(reached)
    print(f"{len(rows)} networks, {100 * reached.min():.1f} to {100 * reached.max():.1f} %")
    print(f"{'score':<28}{'all':>8}{'better half':>14}{'s each':>9}")
    for name, score in scorers(dense).items():
        started = time.monotonic()
        losses = np.array([score(plan) for plan in plans])
        spent = (time.monotonic() - started) / len(plans)
        taus = [kendalltau(-losses[at], reached[at]).statistic for at in (reached >= 0, better)]
        print(f"{name:<28}{taus[0]:>8.2f}{taus[1]:>14.2f}{spent:>9.2f}", flush=True)


def scorers(dense: DenseNetwork) -> dict[str, Callable[[PruningPlan], float]]:
    """Losses by the name of the score; none is taken from a file."""
    problem = dense.problem()
    plain = replace(problem, fold=False)
    encoding = encoding_of(problem)
    free = sensitivity.measure(problem, encoding)

    def predicted(plan: PruningPlan) -> float:
        widths = np.array([[len(plan.kept[group.name]) for group in problem.space.groups]])
        return float(free.losses(encoding.genomes(widths))[0])

    found: dict[str, Callable[[PruningPlan], float]] = {
        "F0, free": predicted,
        "F1, recalibrated": lambda plan: plain.evaluator.score(plan).loss,
        "F1, folded": lambda plan: problem.evaluator.score(plan).loss,
    }
    for images in (128, 256, 512):
        judge = replace(problem, effort=Effort(refit_images=images)).evaluator
        found[f"refit on {images} images"] = lambda plan, judge=judge: judge.refitted(plan).loss
    for steps in (50, 150):
        found[f"F2, {steps} steps"] = lambda plan, n=steps: (
            problem.evaluator.distilled(plan, n).loss
        )
    return found


if __name__ == "__main__":
    main()
