"""The recipe: schedule, batch sizes, distillation loss, and impossible values."""

import math
from typing import Any

import pytest
import torch

from edgeprune.errors import InputError
from edgeprune.prune.training.recipe import Recipe, batch_size, distillation, learning_rate


@pytest.mark.parametrize(
    ("wanted", "count", "batch"),
    [(64, 1000, 64), (128, 45_000, 128), (128, 400, 50), (128, 100, 12), (128, 20, 8), (8, 5, 5)],
)
def test_few_images_are_served_in_batches_that_leave_eight_steps(
    wanted: int, count: int, batch: int
) -> None:
    assert batch_size(wanted, count) == batch
    assert count // batch >= min(8, max(1, count // 8))


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert learning_rate(0, 1, 0.0) == pytest.approx(1)


def test_distillation_is_hintons_formula() -> None:
    student, teacher = torch.randn(2, 5, 7, dtype=torch.float64)
    p, q = (torch.softmax(logits / 3, 1) for logits in (teacher, student))
    expected = 9 * (p * (p.log() - q.log())).sum(1).mean()
    assert torch.allclose(distillation(student, teacher, 3.0), expected)
    assert float(distillation(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"steps": -1},
        {"batch": 1},
        {"lr": 0.0},
        {"temperature": 0.0},
        {"alpha": 1.5},
        {"ema": 1.0},
        {"label_smoothing": 1.0},
        {"warmup": 2.0},
        {"weight_decay": -1e-4},
        {"lr": math.inf},
        {"temperature": math.nan},
        {"seed": -1},
    ],
)
def test_an_impossible_recipe_is_refused(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(InputError, match=f"recipe: {name} cannot be"):
        Recipe(**wrong)


@pytest.mark.parametrize(
    ("recipe", "count", "steps"),
    [
        (Recipe(steps=7), 1000, 7),
        (Recipe(epochs=10, batch=64), 1021, 150),
        (Recipe(epochs=2, batch=128), 45_000, 702),
        (Recipe(epochs=3), 5, 3),
        (Recipe(epochs=0), 100, 0),
    ],
)
def test_the_number_of_steps_is_that_of_whole_batches(recipe, count, steps):
    assert recipe.steps_on(count) == steps
