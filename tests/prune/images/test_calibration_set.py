"""Calibration images: which, again, and what is wrong with a list."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune.errors import InputError
from edgeprune.prune.images import calibration_set
from edgeprune.prune.images.datasets import DataSet
from tests.images import PLAIN, grey_noise

IMAGES = DataSet(
    name="noise",
    classes=("dark", "bright"),
    train=grey_noise(40),
    val=grey_noise(4, seed=1),
    test=grey_noise(4, seed=2),
    input_shape=(3, 8, 8),
    normalisation=PLAIN,
    fingerprint="a",
)


def test_a_list_gives_the_same_images_again(tmp_path: Path) -> None:
    listed, images = calibration_set.drawn(IMAGES, 10, seed=3)
    assert (len(images), images[0].shape, images[0].dtype) == (10, (1, 3, 8, 8), np.float32)
    labels = IMAGES.train.labels[list(listed.indices)]
    assert labels.bincount().tolist() == [5, 5]
    (tmp_path / "list.json").write_bytes(listed.to_json())
    read = calibration_set.read(str(tmp_path / "list.json"))
    assert read == listed
    for one, other in zip(images, calibration_set.again(read, IMAGES), strict=True):
        assert np.array_equal(one, other)


def test_a_list_has_a_name_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, _ = calibration_set.drawn(IMAGES, 10)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calibration" / "images").mkdir(parents=True)
    (tmp_path / "calibration" / "images" / "dusk.json").write_bytes(listed.to_json())
    assert calibration_set.read("dusk") == listed
    with pytest.raises(InputError, match=r"dawn\.json"):
        calibration_set.read("dawn")


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (replace(IMAGES, name="other"), "the calibration list is of noise, the images are other"),
        (replace(IMAGES, train=grey_noise(8)), "there are 8: images are gone"),
        (replace(IMAGES, train=grey_noise(40, seed=9)), "are not those of the list"),
    ],
)
def test_other_images_are_refused(images: DataSet, said: str) -> None:
    listed, _ = calibration_set.drawn(IMAGES, 10)
    with pytest.raises(InputError, match=said):
        calibration_set.again(listed, images)


@pytest.mark.parametrize(
    "change",
    [{"indices": []}, {"indices": [-1]}, {"sha256": "x"}, {"more": 1}, {"seed": "0"}, None],
)
def test_a_damaged_list_is_one_line(tmp_path: Path, change: dict[str, object] | None) -> None:
    content = json.loads(calibration_set.drawn(IMAGES, 4)[0].to_json())
    path = tmp_path / "list.json"
    path.write_text(json.dumps([] if change is None else content | change))
    with pytest.raises(InputError, match=r"list\.json is no list of calibration images"):
        calibration_set.read(str(path))
