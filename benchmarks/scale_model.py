"""What the model of scaling.md says of a search over ImageNet's ResNet-50 on GPUs; nothing is run.

    python benchmarks/scale_model.py
    python benchmarks/scale_model.py --forward 5000 --training 1500

P scores asked for together take ``ceil(P / W) t + P o`` on W workers. The numbers of scores are
those of joint by default; every time is an assumption, given by the options and printed.
"""

import argparse
import math
import sys
from collections.abc import Sequence

from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.training.recipe import Recipe

IMAGES = 1_281_167  # ImageNet's training images
TOGETHER = 16


def together(count: int, seconds: float, workers: int, overhead: float) -> float:
    """Seconds for scores that are asked for at once."""
    return math.ceil(count / workers) * seconds + count * overhead


def search(workers: int, given: argparse.Namespace) -> float:
    """Seconds of statistics, F1, refits and F2."""
    effort, recipe = Effort(), Recipe()
    images = effort.calibration + effort.judged
    f1 = given.host + images / given.forward
    generations, rest = divmod(effort.evaluations, TOGETHER)
    total = given.statistics / workers
    total += generations * together(TOGETHER, f1, workers, given.overhead)
    total += together(rest, f1, workers, given.overhead)
    total += together(effort.refitted, given.refit, workers, given.overhead)
    left = effort.finalists
    for steps, survivors in effort.rungs:
        f2 = given.host + steps * recipe.batch / given.training + effort.examined / given.forward
        total += together(left, f2, workers, given.overhead)
        left = survivors
    return float(total)


def rows(given: argparse.Namespace) -> Sequence[tuple[int, float, float, float]]:
    """Per number of GPUs: seconds of the search, of the fine-tuning on one, and under torchrun."""
    tuning = Recipe().epochs * IMAGES / given.training
    return [
        (count, search(count, given), tuning, tuning / (1 + (count - 1) * given.efficiency))
        for count in (1, 8, 64)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forward", type=float, default=2500.0, help="images/s without gradients")
    parser.add_argument("--training", type=float, default=700.0, help="images/s with a teacher")
    parser.add_argument("--host", type=float, default=3.0, help="s to slim and fold for a score")
    parser.add_argument("--refit", type=float, default=30.0, help="s of a refit")
    parser.add_argument("--statistics", type=float, default=60.0, help="s of all, on one GPU")
    parser.add_argument("--overhead", type=float, default=0.015, help="s of Dask for a score")
    parser.add_argument("--efficiency", type=float, default=0.8, help="of each further GPU")
    given = parser.parse_args()
    assumed = ", ".join(f"{name} {value:g}" for name, value in sorted(vars(given).items()))
    print(f"assumed, none of it measured: {assumed}")
    print("| GPUs | search, min | fine-tuning on one worker, h | by torchrun on all, h |")
    print("|---|---|---|---|")
    for count, searching, tuning, shared in rows(given):
        print(f"| {count} | {searching / 60:.1f} | {tuning / 3600:.1f} | {shared / 3600:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
