"""The task of outputs: relative error by hand, its interval, its gradients."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.in_memory import hold
from edgeprune.prune.training.output_error import OutputError
from edgeprune.prune.training.recipe import Recipe
from tests.run.test_several_heads import stripes
from tests.several_heads import Heads

TASK = OutputError()


class Scaled(nn.Module):
    """The mean colours and the image, each off by a share."""

    def __init__(self, first: float = 0.0, second: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Any:
        return {"mean": x.mean((2, 3)) * (1 + self.first), "maps": [x * (1 + self.second)]}


@pytest.fixture(scope="module")
def images() -> Any:
    return hold((stripes(40, 0), stripes(60, 1)), flip=False, labelled=False)


def test_the_error_of_every_output_counts(images: Any) -> None:
    dense, slim = Scaled(), Scaled(0.25, -0.5)
    assert TASK.measured(slim, dense, images.test) == pytest.approx(0.5)
    found = TASK.compared(TASK.reference(dense, images), slim, images)
    errors = found.of_slim["outputs"]["errors"]
    assert found.of_slim["outputs"]["images"] == 60
    assert {name: each["error"] for name, each in errors.items()} == pytest.approx(
        {"mean": 0.25, "maps_0": 0.5}
    )
    assert (errors["mean"]["agreement"], errors["maps_0"]["agreement"]) == (1.0, None)
    assert (found.dense, found.slim) == (0.0, pytest.approx(0.5))
    pixels = torch.rand(4, 3, 8, 8)
    batches = [(pixels, torch.zeros(4))]
    expected = [(pixels.mean((2, 3)), pixels)]
    score = TASK.judge(slim, batches, expected)
    assert (score.loss, score.accuracy) == (pytest.approx(0.375), None)
    assert float(TASK.distance(slim(pixels), dense(pixels))) == pytest.approx((0.0625 + 0.25) / 2)
    assert TASK.lost(0.0, 0.5) == 50


def test_an_equal_network_has_no_error_and_no_slope_that_is_no_number(images: Any) -> None:
    assert TASK.measured(Scaled(), Scaled(), images.test) == 0
    answer = torch.ones(2, 3, requires_grad=True)
    loss = TASK.loss(answer, answer.detach().clone(), torch.zeros(2), Recipe())
    torch.autograd.backward(loss)
    assert answer.grad is not None
    assert torch.isfinite(answer.grad).all()


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Errors of images drawn from one law, against the error of all of them."""

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) + 0.3 * x.flatten(1).flip(1)

    rng = np.random.default_rng(0)
    whole = torch.from_numpy(rng.gamma(2.0, 1.0, (4000, 1, 2, 2))).float()
    from edgeprune.prune.slimming.served import ServedImages
    from edgeprune.prune.training.output_error import _run

    network, dense = Noisy(), nn.Flatten()
    truth = TASK.measured(network, dense, ServedImages(whole))
    inside = 0
    for _ in range(200):
        part = whole[torch.from_numpy(rng.choice(4000, 60, replace=False))]
        low, middle, high = _run(network, dense, ServedImages(part))[0].interval(0)
        assert low <= middle <= high
        inside += low <= truth <= high
    assert inside >= 190  # 99 % of 200, less three standard deviations and the few images


def test_a_network_that_gives_no_numbers_is_infinitely_far(images: Any) -> None:
    assert TASK.measured(Scaled(math.nan), Scaled(), images.test) == math.inf


def test_probes_are_scaled_to_each_output() -> None:
    """The mean of their squared gradients is that of the distance's second order, up to 2."""
    answer = {"small": torch.full((2, 50), 0.01), "large": torch.full((2, 50), 100.0)}
    for one in answer.values():
        one.requires_grad_(True)
    totals = dict.fromkeys(answer, 0.0)
    for probe in TASK.probes(answer, 40, (0, 2, 0)):
        slopes = torch.autograd.grad(probe, list(answer.values()), retain_graph=True)
        for name, slope in zip(answer, slopes, strict=True):
            totals[name] += float((slope * answer[name].detach()).square().mean()) / 40
    assert totals["small"] == pytest.approx(totals["large"], rel=0.2)
    assert totals["small"] == pytest.approx(1 / (2 * 50), rel=0.2)


def test_without_a_teacher_there_is_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="--teacher"):
        TASK.loss(torch.ones(1, 2), None, torch.zeros(1), Recipe())


def test_what_it_cannot_judge_is_refused(images: Any) -> None:
    class Counted(Heads):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x) | {"top": super().forward(x)["class"].argmax(1)}

    with pytest.raises(InputError, match=r"output 'top' of the model is of torch\.int64"):
        TASK.refuse(Counted().eval(), "net", images)
