"""Pruning problems on tiny networks and noise, small enough to be searched in a second."""

from typing import Any, cast

import torch
from torch import nn

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import IMAGENET, HeldImages
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import trace
from tests.models import tiny

STEPS = {"resnet": (8, 16), "vgg": (4, 8), "bottleneck": (6, 12)}  # few networks, soon scored


class Sealed:
    """Test images: whoever touches them in a search has failed."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the test images were touched: {name}")

    def __len__(self) -> int:
        raise AssertionError("the test images were counted")


def noise_images(count: int, seed: int) -> HeldImages:
    """Noise with a tint that tells its class, 8x8."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 5
    pixels = torch.randint(0, 120, (count, 3, 8, 8), generator=generator)
    tinted = pixels + 25 * labels.view(-1, 1, 1, 1) * torch.tensor([1, 0, 1]).view(1, 3, 1, 1)
    return HeldImages(tinted.to(torch.uint8), labels)


def noise_data() -> DataSet:
    """Images to search with; those to test with are sealed."""
    return DataSet(
        name="noise",
        classes=tuple("abcde"),
        train=noise_images(48, 0),
        val=noise_images(40, 1),
        test=cast(Any, Sealed()),
        input_shape=(3, 8, 8),
        normalisation=IMAGENET,
        fingerprint="noise-1",
    )


def tiny_problem(name: str, **given: Any) -> Problem:
    """A problem on one of the tiny networks with the true evaluator, and little effort."""
    model, example = tiny(name)
    traced = trace(model.float(), example.float())
    space, counts = build(traced.groups, STEPS[name]), CostModel(traced)
    costs = Costs(space.full, (lambda w: 2000 + counts.macs(w), counts.macs, counts.params))
    effort = Effort(evaluations=16, calibration=16, judged=20, finalists=3, rungs=((2, 2), (5, 1)))
    usual = {
        "effort": effort,
        "settings": Settings(population=6, generations=2),
        "criteria_names": ("l1",),
    }
    return Problem(
        trace=traced, space=space, costs=costs, images=noise_data(), **{**usual, **given}
    )


def tiny_network() -> nn.Module:
    """The network of ``tiny_problem("resnet")``, as a factory that other processes can call."""
    return tiny("resnet")[0].float()
