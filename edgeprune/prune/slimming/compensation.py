"""Compensates for removed channels without training: a fold or refit where it proves better."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from edgeprune.prune.images.datasets import sample
from edgeprune.prune.images.held import Images
from edgeprune.prune.models.placement import best_device, working_copy
from edgeprune.prune.saliency.curvature import affordable
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import BATCH
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION

Method = Literal["refit", "fold", "none"]

_IMAGES = 512
_JUDGED = 1000


class Compensated(NamedTuple):
    """A slim network, ready for whatever training follows.

    Attributes:
        model: BatchNorm recalibrated, in evaluation mode, on the CPU.
        method: What was done to its weights.
        divergence: Distance from the dense network's answers on held-out images of each method
            that was tried: of a classifier the mean Kullback-Leibler divergence in nats.
        left: Layers without a closed form that kept their weights, with the reason.
    """

    model: nn.Module
    method: Method
    divergence: Mapping[str, float]
    left: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        """What was done and how it was judged, as plain JSON."""
        return {"method": self.method, "divergence": self.divergence, "left": self.left}


def compensate(  # noqa: PLR0913  what it stands on, and how
    traced: Trace,
    plan: PruningPlan,
    train: Images,
    held_out: Images,
    method: Method,
    folding: Callable[[], Folding],
    *,
    task: Task = CLASSIFICATION,
) -> Compensated:
    """Slim a network and let the layers that stay take over what was removed.

    A refit or fold is taken only where it follows the dense network better on held-out images
    than plain BatchNorm recalibration does.

    Args:
        traced: The dense network.
        plan: What stays of it.
        train: Images to solve and to recalibrate on; labels only spread the choice over classes.
        held_out: Images to judge by.
        method: ``none`` for recalibration alone.
        folding: Gives the fold; called for ``fold`` alone.
        task: Says how far answers are from the dense network's.
    """
    slimmed = slim(traced, plan)
    plain = recalibrate(slimmed, train)
    if method == "none" or not isinstance(slimmed, torch.fx.GraphModule):
        return Compensated(plain, "none", {}, {})
    if method == "fold":
        fold = folding()
        changed, left = fold.slim(plan), fold.left
    else:
        changed, left = refit(slimmed, traced, plan, unlabelled(train, traced, _IMAGES))
    candidates: dict[Method, nn.Module] = {
        "none": plain,
        method: recalibrate(changed.cpu(), train),
    }
    judged = sample(held_out, _JUDGED)
    divergence: dict[str, float] = {
        name: apart(model, traced.model, judged, task) for name, model in candidates.items()
    }
    best: Method = method if divergence[method] < divergence["none"] else "none"
    return Compensated(candidates[best], best, divergence, left)


def apart(network: nn.Module, dense: nn.Module, images: Images, task: Task) -> float:
    """Mean distance of a network's answers from the dense one's, over batches of images."""
    device, total = best_device(), 0.0
    ours, theirs = (working_copy(one, device).eval() for one in (network, dense))
    with torch.inference_mode():
        for pixels, _ in images.to(device).batches(BATCH):
            total += len(pixels) * float(task.distance(ours(pixels), theirs(pixels)))
    return total / len(images)


def unlabelled(images: Images, traced: Trace, most: int) -> Tensor:
    """Pixels of images evenly from all classes, fewer than ``most`` where they are large."""
    count = affordable(traced, most)  # at 224 pixels 41 images: about 1.2 GB for ResNet-50
    pixels, _ = next(iter(sample(images, count).batches(count)))
    return pixels.to(best_device())
