"""Compensates for removed channels without training: a refit where it proves better."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from edgeprune.prune.images.datasets import sample
from edgeprune.prune.images.held import Images
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.recipe import distillation

Method = Literal["refit", "none"]

_MOST_IMAGES, _LEAST_IMAGES = 512, 32
_PIXELS = _MOST_IMAGES * 64 * 64  # at 224 pixels 41 images: about 1.2 GB for ResNet-50
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
    traced: Trace, plan: PruningPlan, train: Images, held_out: Images, method: Method
) -> Compensated:
    """Slim a network and let the layers that stay take over what was removed.

    The refit is taken only where it follows the dense network better on held-out images than
    plain BatchNorm recalibration does.

    Args:
        traced: The dense network.
        plan: What stays of it.
        train: Images to solve and to recalibrate on; labels only spread the choice over classes.
        held_out: Images to judge by.
        method: ``none`` for recalibration alone.
    """
    slimmed = slim(traced, plan)
    plain = recalibrate(slimmed, train)
    if method == "none" or not isinstance(slimmed, torch.fx.GraphModule):
        return Compensated(plain, "none", {}, {})
    solved = refit(slimmed, traced, plan, _pixels(train, traced))
    candidates = {"none": plain, "refit": recalibrate(solved.model.cpu(), train)}
    judged = sample(held_out, _JUDGED)
    dense = evaluate(traced.model, judged).logits
    divergence = {
        name: float(distillation(evaluate(model, judged).logits, dense, 1.0))
        for name, model in candidates.items()
    }
    best: Method = "refit" if divergence["refit"] < divergence["none"] else "none"
    return Compensated(candidates[best], best, divergence, solved.left)


def _pixels(images: Images, traced: Trace) -> Tensor:
    """Unlabelled training images, evenly from all classes, as many as the memory bound allows."""
    entry = next(node for node in traced.graph.graph.nodes if node.op == "placeholder")
    _, _, height, width = entry.meta["tensor_meta"].shape
    count = min(_MOST_IMAGES, max(_LEAST_IMAGES, _PIXELS // (height * width)))
    pixels, _ = next(iter(sample(images, count).batches(count)))
    return pixels.to(best_device())
