"""Folders of pictures without classes: any folders, split by seed or by part."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.errors import InputError
from edgeprune.prune.images import datasets, image_list


def write(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((8, 8, 3), 20 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")


def test_pictures_of_any_folders_are_split_by_seed(tmp_path: Path) -> None:
    write(tmp_path, 4)
    write(tmp_path / "a" / "b", 6)
    write(tmp_path / ".hidden", 5)
    (tmp_path / "notes.txt").write_text("no picture")
    found, again = (
        datasets.load(str(tmp_path), size=8, labelled=False, cache=tmp_path / ".cache")
        for _ in range(2)
    )
    assert [len(part) for part in (found.train, found.val, found.test)] == [7, 1, 2]
    assert (found.classes, found.has_targets) == ((), False)
    assert found.splits is not None and again.splits is not None
    assert [part.paths for part in found.splits.parts.values()] == [
        part.paths for part in again.splits.parts.values()
    ]
    assert "split with seed 0, 20% to test and 10% to val" in found.splits.told
    listed = image_list.as_text(found.splits).splitlines()
    assert len(listed) == 11
    assert listed[1].split(",")[1] == ""
    pixels, labels = next(iter(found.test.batches(2)))
    assert pixels.shape == (2, 3, 8, 8)
    assert torch.equal(labels, torch.zeros(2, dtype=torch.int64))


def test_parts_by_name_hold_what_they_hold(tmp_path: Path) -> None:
    write(tmp_path / "train" / "cats", 12)
    write(tmp_path / "train", 9)
    write(tmp_path / "val", 3)
    found = datasets.load(str(tmp_path), size=8, labelled=False, cache=tmp_path / ".cache")
    assert [len(part) for part in (found.train, found.val, found.test)] == [19, 2, 3]
    assert found.splits is not None
    assert found.splits.told == "val is the test set; the last tenth of train validates"


def test_labels_of_other_data_are_forgotten(tmp_path: Path) -> None:
    assert datasets.load("digits", labelled=False).classes == ()
    write(tmp_path / "x", 10)
    lines = [f"x/{number:02d}.png,{'ab'[number % 2]}" for number in range(10)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = datasets.load(
        str(tmp_path / "list.csv"), size=8, labelled=False, cache=tmp_path / ".cache"
    )
    assert found.classes == ()
    assert set(found.train.labels.tolist()) == {0}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "holds no pictures"),
        ({"": 2}, "holds 2 pictures; three are needed"),
        ({"train": 5}, "has train/ and no test/ or val/ folder"),
        ({"train": 1, "test": 3}, "needs two pictures in train/"),
        ({"train": 4, "test": 0}, "test holds no pictures"),
    ],
)
def test_too_few_are_refused_in_one_line(
    tmp_path: Path, parts: dict[str, int], words: str
) -> None:
    for part, count in parts.items():
        write(tmp_path / part, count)
    with pytest.raises(InputError, match=words) as refused:
        datasets.load(str(tmp_path), size=8, labelled=False, cache=tmp_path / ".cache")
    assert "\n" not in str(refused.value)
