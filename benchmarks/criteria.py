"""Accuracy of slim networks by criterion, without any fine-tuning: recalibrated, folded, refitted.

    python benchmarks/criteria.py SHARED [--model resnet20] [--vectors 6] [--draws 3]

SHARED holds ``data/cifar10-jpeg.tar.xz`` and ``data/checkpoints/``. Every criterion is given the
same width vectors: uniform ones, then random ones on multiples of 8 with no branch dropped.
Each draw gathers its statistics on another 512 training images; held-out images judge, of
ResNet-56 test images, since it has seen the others. Beside the mean over vectors and draws stands
its standard error over vectors; ``rank`` is Spearman's correlation of the damage that the
statistics predict for a vector with the loss in accuracy once it is folded.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from contest.network import WEIGHTS, DenseNetwork, public_network
from scipy.stats import spearmanr
from torch import Tensor, nn

from edgeprune.arrays import Floats, Ints
from edgeprune.prune.images.datasets import sample
from edgeprune.prune.images.held import Images
from edgeprune.prune.saliency import criteria
from edgeprune.prune.saliency.curvature import Curvature, WaveletOptions, measure
from edgeprune.prune.saliency.surgeon import damage, orders
from edgeprune.prune.slimming.compensation import unlabelled
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate

IMAGES, STEP = 512, 8
METHODS = ("plain", "fold", "refit")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", choices=sorted(WEIGHTS), default="resnet20")
    parser.add_argument("--vectors", type=int, default=6, help="random width vectors")
    parser.add_argument("--draws", type=int, default=3, help="draws of calibration images")
    parser.add_argument("--judged", type=int, default=5000, help="images that judge")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--criteria", nargs="+", default=["taylor", "bn", "l1", "pixels", "haar"])
    parser.add_argument("--work", type=Path, help="where images are unpacked and kept")
    given = parser.parse_args()
    with public_network(given.model, given.shared, given.work) as dense:
        images = dense.images.test if given.model == "resnet56" else dense.images.val
        table(dense, sample(images, given.judged), given)


def table(dense: DenseNetwork, judged: Images, given: argparse.Namespace) -> None:
    vectors = list(widths(dense, given.vectors))
    print(f"dense {accuracy(dense.model, judged):.2f} %, {len(vectors)} vectors", flush=True)
    # By criterion and method the accuracy of each draw and vector.
    found: dict[tuple[str, str], Floats] = {}
    ranks: dict[str, list[float]] = {}
    for draw in range(given.draws):
        for name in given.criteria:
            curvature, saliencies = ranked(dense, name, draw)
            plans = [plan(dense, saliencies, vector) for vector in vectors]
            for method in given.methods:
                row = [
                    accuracy(compensated(dense, curvature, each, method), judged) for each in plans
                ]
                key = name, method
                found[key] = np.vstack([found.get(key, np.empty((0, len(row)))), row])
            if "fold" in given.methods:
                lost = [predicted(dense, curvature, each) for each in plans]
                rank = spearmanr(lost, -found[name, "fold"][-1]).statistic
                ranks.setdefault(name, []).append(float(rank))
            print(line(name, found, ranks, given.methods), flush=True)
    print(f"\n{'criterion':<10}" + "".join(f"{m:>16}" for m in given.methods) + f"{'rank':>8}")
    for name in given.criteria:
        print(line(name, found, ranks, given.methods))


def line(
    name: str,
    found: dict[tuple[str, str], Floats],
    ranks: dict[str, list[float]],
    methods: list[str],
) -> str:
    cells = []
    for method in methods:
        by_vector = found[name, method].mean(0)
        error = by_vector.std(ddof=1) / np.sqrt(len(by_vector))
        cells.append(f"{by_vector.mean():>9.2f} ± {error:4.2f}")
    rank = f"{np.mean(ranks[name]):8.2f}" if name in ranks else ""
    return f"{name:<10}" + "".join(cells) + rank


def widths(dense: DenseNetwork, count: int) -> Iterator[Ints]:
    """Uniform shares, then random widths on the grid, each at least half."""
    full = np.array([group.width for group in dense.trace.groups])
    for share in (0.75, 0.5):
        yield on_grid(full * share, full)
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield on_grid(full * generator.uniform(0.4, 1.0, len(full)), full)


def on_grid(wanted: Floats, full: Ints) -> Ints:
    return np.clip((wanted / STEP).round() * STEP, STEP, full).astype(np.int64)


def ranked(dense: DenseNetwork, name: str, draw: int) -> tuple[Curvature, tuple[Tensor, ...]]:
    """Statistics of a draw, and the saliency of every group's channels by a criterion."""
    metric = name if name not in ("taylor", "bn", "l1", "pixels") else "none"
    wavelet = "haar" if name in ("taylor", "bn", "l1") else metric
    train = dense.images.train
    curvature = measure(dense.trace, train, WaveletOptions(wavelet, IMAGES, draw))
    by_weights: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "taylor": lambda: criteria.taylor(dense.trace, train, seed=draw),
        "bn": lambda: criteria.bn_gamma(dense.trace),
        "l1": lambda: criteria.l1(dense.trace),
    }
    if name in by_weights:
        return curvature, by_weights[name]()
    found = orders(curvature, dense.trace.groups)
    return curvature, tuple(order.saliency for order in found if order is not None)


def plan(dense: DenseNetwork, saliencies: tuple[Tensor, ...], vector: Ints) -> PruningPlan:
    kept = {
        group.name: tuple(saliency.argsort(descending=True, stable=True)[:width].tolist())
        for group, saliency, width in zip(dense.trace.groups, saliencies, vector, strict=True)
    }
    return PruningPlan(model=dense.name, kept=kept)


def compensated(
    dense: DenseNetwork, curvature: Curvature, chosen: PruningPlan, method: str
) -> nn.Module:
    train = dense.images.train
    network = slim(dense.trace, chosen)
    if method == "fold":
        network = Folding(dense.trace, curvature).slim(chosen)
    if method == "refit":
        network = refit(network, dense.trace, chosen, unlabelled(train, dense.trace, IMAGES)).model
    return recalibrate(network, train)


def predicted(dense: DenseNetwork, curvature: Curvature, chosen: PruningPlan) -> float:
    total = 0.0
    for index, group in enumerate(dense.trace.groups):
        kept = np.zeros(group.width, np.bool_)
        kept[list(chosen.kept[group.name])] = True
        total += damage(curvature, index, kept)
    return total


def accuracy(network: nn.Module, images: Images) -> float:
    return 100 * evaluate(network, images).accuracy


if __name__ == "__main__":
    main()
