"""Training: the schedule, the loss, what stays frozen, and that a seed decides everything."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import DivergenceError, train
from edgeprune.prune.training.recipe import Recipe
from tests.images import grey_noise

CPU = torch.device("cpu")


def _network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        ZeroPadShortcut(4, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def _weights(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def _equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_training_learns_and_leaves_the_given_model_alone() -> None:
    model, images = _network(), grey_noise(128)
    before = _weights(model)
    trained = train(model, images, Recipe(epochs=8, batch=16, lr=0.1), device=CPU)
    assert evaluate(trained.model, images, device=CPU).accuracy > 0.95
    assert trained.history["loss"][-1] < 0.5 * trained.history["loss"][0]
    assert _equal(_weights(model), before)
    assert not trained.model.training
    assert trained.model.get_parameter("0.weight").is_contiguous()


def test_the_seed_decides_everything() -> None:
    recipe = Recipe(epochs=2, batch=16)
    first, again = (
        _weights(train(_network(), grey_noise(128), recipe, device=CPU).model) for _ in "ab"
    )
    other = train(
        _network(), grey_noise(128), Recipe(epochs=2, batch=16, seed=1), device=CPU
    ).model
    assert _equal(first, again)
    assert not _equal(first, _weights(other))


def test_frozen_shortcuts_stay_zero_and_one() -> None:
    trained = train(
        _network(), grey_noise(128), Recipe(epochs=1, batch=16, lr=0.5), device=CPU
    ).model
    shortcut = trained.get_submodule("3")
    assert isinstance(shortcut, ZeroPadShortcut)
    assert torch.equal(shortcut.weight, ZeroPadShortcut(4, 8).weight)
    assert not shortcut.weight.requires_grad


def test_history_is_plain_json() -> None:
    history = train(_network(), grey_noise(128), Recipe(epochs=2, batch=16), device=CPU).history
    assert json.loads(json.dumps(history)) == history
    assert history["steps"] == 16
    assert len(history["loss"]) == 2
    assert history["recipe"]["batch"] == history["batch"] == 16


@pytest.mark.parametrize(("steps", "expected"), [(None, 16), (3, 3), (19, 19), (0, 0)])
def test_steps_take_the_place_of_epochs(steps: int | None, expected: int) -> None:
    told: list[tuple[int, int]] = []
    train(
        _network(),
        grey_noise(128),
        Recipe(epochs=2, steps=steps, batch=16),
        progress=lambda step, done, total: told.append((done, total)),
        device=CPU,
    )
    assert told == [(step + 1, expected) for step in range(expected)]


def test_a_pass_over_few_images_takes_eight_steps() -> None:
    history = train(_network(), grey_noise(80), Recipe(epochs=2), device=CPU).history
    assert (history["steps"], history["batch"]) == (16, 10)


def test_a_teacher_alone_is_imitated() -> None:
    images = grey_noise(128)
    teacher = train(_network(), images, Recipe(epochs=8, batch=16, lr=0.1), device=CPU).model
    before = _weights(teacher)
    wrong = HeldImages(images.pixels, 1 - images.labels)
    recipe = Recipe(epochs=8, batch=16, lr=0.1, alpha=1.0)
    student = train(_network(), wrong, recipe, teacher=teacher, device=CPU).model
    assert evaluate(student, images, device=CPU).accuracy > 0.95
    assert _equal(_weights(teacher), before)


def test_the_average_trails_the_weights() -> None:
    start = _network()
    recipe: dict[str, Any] = {"steps": 3, "batch": 16, "warmup": 0.0}
    last = train(start, grey_noise(128), Recipe(**recipe), device=CPU).model
    averaged = train(start, grey_noise(128), Recipe(**recipe, ema=0.9), device=CPU).model
    first, moved, mean = (
        model.get_parameter("6.weight").detach() for model in (start, last, averaged)
    )
    assert 0 < float((mean - first).norm()) < 0.5 * float((moved - first).norm())
    assert averaged.get_buffer("1.num_batches_tracked") == 3


def test_divergence_is_one_clear_error() -> None:
    with pytest.raises(DivergenceError, match=r"diverged.*smaller learning rate than 1e\+30"):
        train(_network(), grey_noise(128), Recipe(epochs=9, batch=16, lr=1e30), device=CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda_learns_and_comes_back() -> None:
    images = grey_noise(128)
    trained = train(_network(), images, Recipe(epochs=8, batch=16, lr=0.1))
    assert trained.history["device"] == "cuda"
    assert trained.model.get_parameter("0.weight").device == CPU
    assert evaluate(trained.model, images, device=CPU).accuracy > 0.95


def test_losses_are_read_from_the_device_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    plain = torch.stack

    def counted(losses: list[torch.Tensor]) -> torch.Tensor:
        reads.append(len(losses))
        return plain(losses)

    monkeypatch.setattr(torch, "stack", counted)
    train(_network(), grey_noise(128), Recipe(steps=19, batch=16), device=CPU)
    assert reads == [8, 8, 3]


def test_a_divergence_is_no_wrong_request() -> None:
    assert DivergenceError("").exit_code == 1
