"""Where the dense model comes from, what is kept of it, and which models are refused."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import IMAGENET, HeldImages
from edgeprune.prune.models import zoo
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.training import classification, dense
from edgeprune.prune.training.recipe import Recipe

SPEC = ModelSpec("resnet20", num_classes=2)
RECIPE = Recipe(steps=1, batch=8)


@pytest.fixture
def data() -> DataSet:
    pixels = torch.randint(
        0, 256, (9, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    held = HeldImages(pixels, torch.arange(9) % 2)
    return DataSet(
        name="tiny",
        classes=("cat", "dog"),
        train=held,
        val=held,
        test=held,
        input_shape=(3, 8, 8),
        normalisation=IMAGENET,
        fingerprint="print",
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dense, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "edgeprune"


def reads(monkeypatch: pytest.MonkeyPatch, right: int) -> None:
    """A model that answers this many of the nine images rightly."""
    found = SimpleNamespace(accuracy=right / 9)
    monkeypatch.setattr(classification, "evaluate", lambda model, images: found)


@pytest.mark.parametrize("right", [7, 8, 9])
def test_a_good_model_on_nine_images_is_accepted(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, right: int
) -> None:
    reads(monkeypatch, right)
    assert dense.obtain(SPEC, data, None, RECIPE).figure == right / 9


@pytest.mark.parametrize("right", [0, 4, 5, 6])
def test_a_guessing_model_is_refused(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, right: int
) -> None:
    reads(monkeypatch, right)
    with pytest.raises(InputError, match=r"near chance \(50\.0 %\): train longer"):
        dense.obtain(SPEC, data, None, RECIPE)


@pytest.mark.parametrize(
    ("classes", "images", "threshold"),
    [(10, 597, 0.1368), (10, 100_000, 0.125), (2, 9, 0.75), (2, 1, 0.75), (100, 1, 0.3085)],
)
def test_the_threshold_can_always_be_passed(classes: int, images: int, threshold: float) -> None:
    assert classification.works_above(1 / classes, images) == pytest.approx(threshold, abs=1e-4)
    assert threshold < 1


def test_a_model_is_trained_once_and_the_seed_decides_which(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, 9)
    first = dense.obtain(SPEC, data, None, RECIPE)
    again = dense.obtain(SPEC, data, None, RECIPE)
    other = dense.obtain(SPEC, data, None, replace(RECIPE, seed=1))
    assert [each.origin for each in (first, again, other)] == ["trained", "cached", "trained"]
    weight, same, different = (
        each.model.get_parameter("conv1.weight") for each in (first, again, other)
    )
    assert torch.equal(weight, same)
    assert not torch.allclose(weight, different)


def test_a_cache_that_cannot_be_written_costs_a_warning(
    data: DataSet,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reads(monkeypatch, 9)
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert dense.obtain(SPEC, data, None, RECIPE).origin == "trained"
    assert "not kept for the next time" in caplog.text


def test_a_model_of_other_code_or_another_device_is_trained_again(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, 9)
    origins = [dense.obtain(SPEC, data, None, RECIPE).origin]
    monkeypatch.setattr(dense, "__version__", "0.0.1")
    origins.append(dense.obtain(SPEC, data, None, RECIPE).origin)
    monkeypatch.setattr(dense, "best_device", lambda: torch.device("cuda"))
    origins.append(dense.obtain(SPEC, data, None, RECIPE).origin)
    origins.append(dense.obtain(SPEC, data, None, RECIPE).origin)
    assert origins == ["trained", "trained", "trained", "cached"]


def test_a_new_head_is_trained_from_the_weights_and_kept(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, 9)
    other = zoo.build(replace(SPEC, num_classes=100), seed=4)
    torch.save({"model": other.state_dict()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="--new-head"):
        dense.obtain(SPEC, data, tmp_path / "w.pt", RECIPE)
    frozen = replace(RECIPE, steps=0)
    found = [dense.obtain(SPEC, data, tmp_path / "w.pt", frozen, new_head=True) for _ in range(2)]
    assert [each.origin for each in found] == ["trained", "cached"]
    assert found[0].recognised == (
        "weights under `model`, 95 of 97 tensors; linear new, trained on tiny"
    )
    conv = found[0].model.get_parameter("conv1.weight")
    assert torch.equal(conv, other.get_parameter("conv1.weight"))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(192, 6))",
            r"has 6 outputs, tiny has 2 classes \(cat, dog\)",
        ),
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(100, 2))",
            r"input shape \(2, 3, 8, 8\) does not fit the model",
        ),
        (
            "nn.AdaptiveMaxPool2d(1, return_indices=True)",
            "is of torch.int",
        ),
    ],
)
def test_a_model_that_answers_no_classes_is_refused_before_it_is_trained(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, words: str
) -> None:
    name = f"odd{abs(hash(made))}"
    (tmp_path / f"{name}.py").write_text(
        f"from torch import nn\n\n\ndef net():\n    return {made}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dense, "train", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(InputError, match=words):
        dense.obtain(ModelSpec(f"{name}:net"), data, None, RECIPE)
