"""What torch Datasets and DataLoaders give is held as it is, or refused in one line."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from edgeprune.errors import InputError
from edgeprune.prune.images import in_memory
from edgeprune.prune.images.held import IMAGENET, Normalisation
from edgeprune.prune.images.in_memory import hold

LABELS = torch.arange(40) % 4
PIXELS = torch.randint(
    0, 256, (40, 3, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
OWN = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def normalised(pixels: Tensor) -> Tensor:
    return OWN(pixels)


def pair(images: Tensor, labels: Tensor = LABELS) -> tuple[Dataset[Any], Dataset[Any]]:
    return TensorDataset(images, labels), TensorDataset(images[:8], labels[:8])


@pytest.mark.parametrize(
    ("images", "stated", "network_takes"),
    [
        (PIXELS, None, IMAGENET),
        (PIXELS, OWN, OWN),
        (PIXELS / 255, None, Normalisation((0.0,) * 3, (1.0,) * 3)),
        (PIXELS / 255, OWN, OWN),
        ((PIXELS / 255).half(), None, Normalisation((0.0,) * 3, (1.0,) * 3)),
        (normalised(PIXELS), OWN, OWN),
    ],
)
def test_pixels_come_back_whatever_they_were_given_as(
    images: Tensor, stated: Normalisation | None, network_takes: Normalisation
) -> None:
    held = hold(pair(images), stated)
    assert torch.equal(held.test.pixels, PIXELS[:8])
    assert held.normalisation == held.test.normalisation == network_takes
    assert (held.input_shape, held.name, held.classes) == (
        (3, 6, 6),
        "in memory: TensorDataset",
        tuple("0123"),
    )


def test_a_normalised_image_reaches_the_network_as_the_dataset_gave_it() -> None:
    held = hold(pair(normalised(PIXELS)), OWN)
    (batch, labels) = next(iter(held.test.batches(8)))
    torch.testing.assert_close(batch, normalised(PIXELS)[:8], atol=1e-5, rtol=1e-5)
    assert torch.equal(labels, LABELS[:8])


def test_a_pair_holds_out_the_last_tenth_of_each_class() -> None:
    held = hold(pair(PIXELS))
    assert [len(split) for split in (held.train, held.val, held.test)] == [36, 4, 8]
    assert torch.equal(held.val.pixels, PIXELS[36:])
    three = hold((*pair(PIXELS), TensorDataset(PIXELS[:4], LABELS[:4])))
    assert [len(split) for split in (three.train, three.val, three.test)] == [40, 8, 4]


def test_of_a_loader_those_images_count_that_its_sampler_names() -> None:
    data, test = pair(PIXELS)
    loader = DataLoader(data, batch_size=16, shuffle=True, drop_last=True)
    before = torch.random.get_rng_state()
    held = hold((loader, DataLoader(test, num_workers=1)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert held.fingerprint == hold((data, test)).fingerprint
    part = DataLoader(data, sampler=SubsetRandomSampler(range(20)))
    assert held.fingerprint != hold((part, test)).fingerprint
    assert hold((part, test)).fingerprint == hold((Subset(data, range(20)), test)).fingerprint


def test_names_of_classes_are_those_of_the_innermost_dataset() -> None:
    data, test = pair(PIXELS)
    data.classes = ["ant", "bee", "cat", "dog"]  # type: ignore[attr-defined]
    assert hold((DataLoader(Subset(data, range(40))), test)).classes == (
        "ant",
        "bee",
        "cat",
        "dog",
    )


class Listed(Dataset[Any]):
    """Items as they are; one that is called is made when it is read."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        item = self.items[index]
        return item() if callable(item) else item


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield PIXELS[0], 0


def broken() -> Any:
    raise RuntimeError("disk gone")


IMAGE = PIXELS[0]
TWO = TensorDataset(PIXELS[:2], LABELS[:2])


def test_any_number_of_channels_and_any_shape() -> None:
    pixels = torch.randint(0, 256, (40, 6, 5, 9), dtype=torch.uint8)
    data = TensorDataset(pixels, torch.arange(40) % 4)
    with pytest.raises(InputError, match="takes images of 6 channels; give --mean and --std"):
        hold((data, data))
    with pytest.raises(InputError, match="gives images of 6 channels, mean= and std= are for 3"):
        hold((data, data), IMAGENET)
    held = hold((data, data), Normalisation((0.5,) * 6, (0.2,) * 6))
    assert held.input_shape == (6, 5, 9)
    grey = TensorDataset(pixels[:, :1] / 255, torch.arange(40) % 4)
    assert hold((grey, grey)).normalisation.channels == 1


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Listed(), "train holds no image"),
        (Endless(), "train is a Endless, which has no length"),
        ("train", "gives a str, not a pair"),
        (Listed({"image": IMAGE}), "gives a dict, not a pair"),
        (Listed((b"jpeg", 0)), "images of type bytes; give tensors"),
        (Listed((IMAGE[0], 0)), r"shape \(6, 6\); a search takes \(channels, height, width\)"),
        (Listed((IMAGE.int(), 0)), r"images of torch.int32; give uint8 or float"),
        (Listed((IMAGE, 0.5)), "the label 0.5; give the index"),
        (Listed((IMAGE, -1)), "the label -1; give the index"),
        (Listed((IMAGE, [0, 1])), r"the label \[0, 1\]; give the index"),
        (Listed(lambda: (torch.rand(3, 6, 6), 0)), "leave random transforms out"),
        (Listed(broken), "train cannot be read: RuntimeError: disk gone"),
        (
            Listed((IMAGE, 0), (PIXELS[1, :, :4, :4], 1)),
            r"shape \(3, 4, 4\); a search takes \(channels, height, width\), all of one shape",
        ),
        (TensorDataset(normalised(PIXELS), LABELS), "state the mean= and std="),
        (TensorDataset(PIXELS / 255 * torch.nan, LABELS), "values from nan to nan: state"),
        (TensorDataset(PIXELS[:4], LABELS[:4]), "one image of class 0; it needs two"),
        (TensorDataset(PIXELS / 255, LABELS), "differ in the size or the kind"),
        (DataLoader(TWO, collate_fn=lambda items: items), "collate_fn of its own"),
        (DataLoader(TWO, sampler=WeightedRandomSampler([1.0, 0.0], 2)), "draws images twice"),
        (DataLoader(TWO, sampler=RandomSampler(TWO, True, 8)), "draws images twice"),
    ],
)
def test_what_cannot_be_held_is_one_line(split: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        hold((split, TWO))


def test_another_normalisation_than_the_true_one_is_noticed() -> None:
    with pytest.raises(InputError, match="after mean= and std= were undone, outside of"):
        hold(pair(normalised(PIXELS)), Normalisation((0.5,) * 3, (2.0,) * 3))


def test_other_numbers_of_parts_and_too_many_images_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match="data is a list of 1 parts"):
        hold([TWO])
    with pytest.raises(InputError, match="data is a TensorDataset of 0 parts"):
        hold(TWO)  # type: ignore[arg-type]
    monkeypatch.setattr(in_memory, "MOST_BYTES", 40 * 108 - 1)
    with pytest.raises(InputError, match="40 images of shape"):
        hold(pair(PIXELS))
