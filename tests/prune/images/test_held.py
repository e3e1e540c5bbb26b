"""Batches: what is served, in which order, and what augmentation may do."""

import pytest
import torch

from edgeprune.errors import InputError
from edgeprune.prune.images.held import (
    PADDING,
    Normalisation,
    augmented,
    batch_indices,
    stratified,
)
from tests.images import grey_noise


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_normalisation_is_that_of_the_literature() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor(
        [(0 / 255 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )
    assert torch.allclose(Normalisation()(pixels).flatten(), expected, atol=1e-6)
    assert pixels.flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize("std", [(0.0, 1.0, 1.0), (-1.0, 1.0, 1.0)])
def test_impossible_normalisation_is_refused(std: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="above 0"):
        Normalisation((0.0, 0.0, 0.0), std)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_normalisation_is_finite(value: float) -> None:
    for mean, std in (((value, 0.0, 0.0), (1.0,) * 3), ((0.0,) * 3, (1.0, 1.0, value))):
        with pytest.raises(InputError, match="finite"):
            Normalisation(mean, std)


def test_a_plain_pass_serves_every_image_in_order() -> None:
    images = grey_noise(20, classes=4)
    served = list(images.batches(8))
    assert [len(labels) for _, labels in served] == [8, 8, 4]
    assert torch.equal(torch.cat([labels for _, labels in served]), images.labels)
    assert torch.equal(torch.cat([p for p, _ in served]), images.normalisation(images.pixels))


def test_the_shares_of_three_processes_make_up_each_batch() -> None:
    images = grey_noise(20, classes=4)
    whole = list(images.batches(8, generator=_seeded(), augment=True))
    passes = [
        images.shared(rank, 3).batches(8, generator=_seeded(), augment=True) for rank in range(3)
    ]
    for (pixels, labels), *shares in zip(whole, *passes, strict=True):
        assert [len(taken) for _, taken in shares] == [3, 3, 2]
        for rank, (part, taken) in enumerate(shares):
            assert torch.equal(part, pixels[rank::3])
            assert torch.equal(taken, labels[rank::3])


def test_a_shuffled_pass_leaves_the_incomplete_batch_out() -> None:
    chosen = batch_indices(20, 8, _seeded())
    assert [len(batch) for batch in chosen] == [8, 8]
    assert len(set(torch.cat(chosen).tolist())) == 16
    assert [len(batch) for batch in batch_indices(5, 8, _seeded())] == [5]


def test_same_seed_same_batches() -> None:
    images = grey_noise(20, classes=4)
    first, again, other = (
        torch.cat([p for p, _ in images.batches(5, generator=_seeded(s), augment=True)])
        for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_without_a_generator_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="generator"):
        next(grey_noise(20, classes=4).batches(4, augment=True))


@pytest.mark.parametrize("flip", [False, True])
def test_augmented_images_are_shifts_and_mirrors(flip: bool) -> None:
    image = grey_noise(1).pixels
    many = augmented(image.expand(64, -1, -1, -1), _seeded(), flip=flip)
    padded = torch.nn.functional.pad(image, (PADDING,) * 4)
    side = image.shape[-1]
    steps = range(2 * PADDING + 1)
    shifts = [padded[0, :, y : y + side, x : x + side] for y in steps for x in steps]
    legal = {s.numpy().tobytes() for s in shifts}
    mirrors = {s.flip(2).contiguous().numpy().tobytes() for s in shifts}
    found = [one.contiguous().numpy().tobytes() for one in many]
    assert all(one in legal or (flip and one in mirrors) for one in found)
    assert any(one in mirrors and one not in legal for one in found) == flip


def test_stratified_choice_keeps_the_shares() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100)]
    chosen = stratified(labels, 20, seed=5)
    assert labels[chosen].bincount().tolist() == [12, 6, 2]
    assert torch.equal(chosen, stratified(labels, 20, seed=5))
    assert not torch.equal(chosen, stratified(labels, 20, seed=6))
    assert torch.equal(stratified(labels, 500, seed=5), torch.arange(100))


def test_subset_keeps_pixels_and_labels_together() -> None:
    images = grey_noise(20, classes=4)
    part = images.subset(torch.tensor([7, 2]))
    assert torch.equal(part.pixels, images.pixels[[7, 2]])
    assert part.labels.tolist() == [3, 2]
