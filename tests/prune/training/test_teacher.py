"""What a teacher answered is asked once, and changes no bit of what is learnt."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.loop import Setting, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.teacher import Answered
from tests.images import grey_noise


class Counting(nn.Module):
    """A linear classifier that counts its calls, those of its copies too."""

    calls: list[int] = []  # noqa: RUF012  of all copies

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3, 2)

    def forward(self, pixels: Tensor) -> Any:
        self.calls.append(len(pixels))
        return {"class": self.linear(pixels.mean((2, 3))), "more": [pixels.sum((1, 2, 3))]}


@pytest.fixture
def batch() -> Tensor:
    torch.manual_seed(0)
    pixels = torch.rand(4, 3, 6, 5)
    return pixels.contiguous(memory_format=torch.channels_last)


def weights(answered: Answered | None, images: HeldImages, steps: int, seed: int) -> list[Tensor]:
    """Of a student after some steps."""
    torch.manual_seed(seed)
    student = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    recipe = Recipe(batch=16, steps=steps, alpha=0.9)
    ranks = Ranks(device=torch.device("cpu"))
    setting = Setting(teacher=Counting(7), ranks=ranks, answered=answered)
    return list(train_in(student, images, recipe, setting).model.state_dict().values())


def test_trainings_that_share_answers_end_bit_by_bit_as_those_that_do_not() -> None:
    images, answered = grey_noise(48), Answered()
    Counting.calls.clear()
    for steps, seed in ((3, 1), (3, 2), (7, 1)):  # 3 batches a pass
        alone = weights(None, images, steps, seed)
        asked = len(Counting.calls)
        shared = weights(answered, images, steps, seed)
        assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
        Counting.calls[asked:], new = [], len(Counting.calls) - asked
        assert new == {(3, 1): 3, (3, 2): 0, (7, 1): 4}[steps, seed]


def test_any_other_pixel_or_shape_is_asked(batch: Tensor) -> None:
    teacher, answered = Counting(1), Answered()
    Counting.calls.clear()
    first = answered(teacher, batch)
    assert answered(teacher, batch.clone()) is first
    other = batch.clone()
    other[3, 2, 5, 4] += 1e-6
    assert answered(teacher, other) is not first
    turned = batch.permute(0, 1, 3, 2).contiguous(memory_format=torch.channels_last)
    assert answered(teacher, turned)["class"].shape == (4, 2)
    assert answered(teacher, batch[:2])["class"].shape == (2, 2)
    assert len(Counting.calls) == 4


def test_no_more_is_kept_than_was_allowed(batch: Tensor) -> None:
    teacher, answered = Counting(1), Answered(most=4 * (2 + 1) * 4)
    Counting.calls.clear()
    for _ in range(2):
        answered(teacher, batch)
        answered(teacher, batch + 1)
    assert answered.held == answered.most
    assert len(Counting.calls) == 3  # the second batch each time
