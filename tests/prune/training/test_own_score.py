"""A score of one's own: given what it takes, and every way in which it fails is one line."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.in_memory import hold
from edgeprune.prune.training.own_score import OwnScore, named, takes_targets
from edgeprune.prune.training.tasks import CLASSIFICATION, task_of
from tests.run.test_several_heads import stripes
from tests.shapes import shapes

NET = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))


def right(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    return float((model(images).argmax(1) == targets).double().mean())


def brightness(model: nn.Module, images: Tensor) -> float:
    return float(images.mean())


def test_it_is_given_the_network_all_images_and_their_targets() -> None:
    images = hold((stripes(20, 0), stripes(300, 1)), flip=False)
    task = task_of("classification", right)
    assert isinstance(task, OwnScore)
    top1 = CLASSIFICATION.measured(NET, NET, images.test)
    assert task.measured(NET, NET, images.test) == pytest.approx(top1)
    found = task.compared(task.reference(NET, images), NET, images)
    assert found.of_slim == {"score": {"name": "right", "dense": top1, "slim": top1}}
    score = task.judge(NET, images.val.batches(2), [])
    assert score.accuracy is None
    assert score.loss == pytest.approx(-CLASSIFICATION.measured(NET, NET, images.val))
    assert (task.figure.budget, task.lost(0.9, 0.8)) == ("score_drop", pytest.approx(0.1))


def test_targets_may_be_maps() -> None:
    images = hold((shapes(12, 0, 16), shapes(6, 1, 16)), labelled=False)
    seen: list[Any] = []

    def score(model: nn.Module, pixels: Tensor, masks: Tensor) -> float:
        seen.append((pixels.shape, masks.shape, masks.dtype))
        return 1.0

    task_of("outputs", score).measured(NET, NET, images.test)
    assert seen == [((6, 3, 16, 16), (6, 16, 16), torch.int64)]


def test_one_that_wants_targets_needs_data_that_has_them() -> None:
    class Pictures(torch.utils.data.Dataset[Tensor]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Tensor:
            return torch.full((3, 16, 16), index / 8)

    images = hold((Pictures(), Pictures()), labelled=False)
    assert not images.has_targets
    with pytest.raises(InputError, match=r"score= takes targets, and .*Pictures has none"):
        task_of("outputs", right).refuse(NET, "net", images)
    task_of("outputs", brightness).refuse(NET, "net", images)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: 1 / 0, "score= failed: ZeroDivisionError: division by zero"),
        (lambda: math.nan, "score= returned nan, no finite number"),
        (lambda: math.inf, "score= returned inf, no finite number"),
        (lambda: None, "score= failed: TypeError"),
    ],
)
def test_one_that_fails_is_one_line(answer: Any, words: str) -> None:
    images = hold((stripes(20, 0), stripes(20, 1)), flip=False)
    task = task_of("classification", lambda model, pixels: answer())
    with pytest.raises(InputError, match=words) as refused:
        task.measured(NET, NET, images.test)
    assert "\n" not in str(refused.value)


def test_it_takes_two_arguments_or_three() -> None:
    assert not takes_targets(brightness)
    assert takes_targets(right)
    assert takes_targets(lambda model, images, targets, scale=2: 1.0)
    with pytest.raises(InputError, match="score= takes 1 arguments"):
        takes_targets(lambda model: 1.0)
    assert named(right) == "right"
    assert named(nn.ReLU()) == "ReLU"
