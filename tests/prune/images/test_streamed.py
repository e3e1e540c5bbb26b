"""Streamed images serve the same interface, decoded on demand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.errors import InputError
from edgeprune.prune.images.splits import Listing
from edgeprune.prune.images.streamed import StreamedImages, _random_box


@pytest.fixture
def images(tmp_path: Path) -> StreamedImages:
    generator = np.random.default_rng(0)
    paths = []
    for index in range(6):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        paths.append(path)
    return StreamedImages(listing=Listing(tuple(paths), np.arange(6)), size=(28, 28), workers=0)


def _all(images: StreamedImages, seed: int | None) -> torch.Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = images.batches(4, generator=generator, augment=seed is not None)
    return torch.cat([pixels for pixels, _ in batches])


def test_a_plain_pass_cuts_the_middle(images: StreamedImages) -> None:
    served = list(images.batches(4))
    assert [tuple(pixels.shape) for pixels, _ in served] == [(4, 3, 28, 28), (2, 3, 28, 28)]
    assert torch.cat([labels for _, labels in served]).tolist() == list(range(6))
    assert torch.equal(_all(images, None), _all(images, None))


def test_same_seed_same_cuts(images: StreamedImages) -> None:
    assert torch.equal(_all(images, 1), _all(images, 1))
    assert not torch.equal(_all(images, 1), _all(images, 2))


def test_the_shares_of_two_processes_make_up_each_batch(images: StreamedImages) -> None:
    whole, first, second = (_all(part, 1) for part in (images, *_halves(images)))
    assert torch.equal(torch.stack([first, second], 1).flatten(0, 1), whole)


def _halves(images: StreamedImages) -> list[StreamedImages]:
    return [images.shared(rank, 2) for rank in range(2)]


def test_the_global_generator_is_left_alone(images: StreamedImages) -> None:
    before = torch.get_rng_state()
    assert len(_all(images, 1)) == 4
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_change_nothing(images: StreamedImages) -> None:
    there = StreamedImages(listing=images.listing, size=images.size, workers=1)
    assert torch.equal(_all(there, 3), _all(images, 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_in_one_line(images: StreamedImages, workers: int) -> None:
    images.listing.paths[1].write_bytes(b"broken")
    there = StreamedImages(listing=images.listing, size=images.size, workers=workers)
    with pytest.raises(InputError, match=r"^cannot read the image .*1\.jpg") as caught:
        _all(there, None)
    assert "\n" not in str(caught.value)


def test_subset_keeps_files_and_labels_together(images: StreamedImages) -> None:
    part = images.subset(torch.tensor([4, 2]))
    assert [path.name for path in part.listing.paths] == ["4.jpg", "2.jpg"]
    assert part.labels.tolist() == [4, 2]


@pytest.mark.parametrize(("width", "height"), [(40, 50), (1, 1), (3, 400)])
@pytest.mark.parametrize("size", [(8, 8), (8, 80)])
def test_random_parts_lie_inside(width: int, height: int, size: tuple[int, int]) -> None:
    generator, image = np.random.default_rng(0), Image.new("L", (width, height))
    for _ in range(100):
        left, top, right, bottom = _random_box(image, size, generator)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
