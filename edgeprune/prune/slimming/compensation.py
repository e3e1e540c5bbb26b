"""Compensates for removed channels without training: a fold or refit where it proves better."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from edgeprune.prune.images.datasets import sample
from edgeprune.prune.images.held import Images
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.saliency.curvature import affordable
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.recipe import distillation

Method = Literal["refit", "fold", "none"]

_IMAGES = 512
_JUDGED = 1000


class Compensated(NamedTuple):
    """A slim network, ready for whatever training follows.

    Attributes:
        model: BatchNorm recalibrated, in evaluation mode, on the CPU.
        method: What was done to its weights.
        divergence: Mean Kullback-Leibler divergence from the dense network's classes on held-out
            images, in nats, of each method that was tried.
        left: Layers without a closed form that kept their weights, with the reason.
    """

    model: nn.Module
    method: Method
    divergence: Mapping[str, float]
    left: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        """What was done and how it was judged, as plain JSON."""
        return {"method": self.method, "divergence": self.divergence, "left": self.left}


def compensate(
    traced: Trace,
    plan: PruningPlan,
    train: Images,
    held_out: Images,
    method: Method,
    folding: Callable[[], Folding],
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
    dense = evaluate(traced.model, judged).logits
    divergence: dict[str, float] = {
        name: float(distillation(evaluate(model, judged).logits, dense, 1.0))
        for name, model in candidates.items()
    }
    best: Method = method if divergence[method] < divergence["none"] else "none"
    return Compensated(candidates[best], best, divergence, left)


def unlabelled(images: Images, traced: Trace, most: int) -> Tensor:
    """Pixels of images evenly from all classes, fewer than ``most`` where they are large."""
    count = affordable(traced, most)  # at 224 pixels 41 images: about 1.2 GB for ResNet-50
    pixels, _ = next(iter(sample(images, count).batches(count)))
    return pixels.to(best_device())
