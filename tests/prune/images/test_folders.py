"""Folders of images: what is listed, what is held out, and what is wrong in one line."""

from pathlib import Path

import pytest

from edgeprune.errors import InputError
from edgeprune.prune.images.folders import list_splits


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _good(root: Path) -> Path:
    for of_class in ("cat", "dog"):
        _touch(root, *(f"train/{of_class}/{i:02}.png" for i in range(20)))
        _touch(root, f"test/{of_class}/a.JPG")
    return root


def test_last_tenth_of_each_class_by_name_is_held_out(tmp_path: Path) -> None:
    found = list_splits(_good(tmp_path))
    splits = found.parts
    assert found.classes == ("cat", "dog")
    assert found.told == ""
    held = [path.relative_to(tmp_path).as_posix() for path in splits["val"].paths]
    assert held == [f"train/{c}/{i}.png" for c in found.classes for i in (18, 19)]
    assert splits["val"].labels.tolist() == [0, 0, 1, 1]
    assert len(splits["train"]) == 36
    assert not set(splits["train"].paths) & set(splits["val"].paths)


def test_a_validation_folder_is_used_as_it_is(tmp_path: Path) -> None:
    _touch(_good(tmp_path), "val/cat/x.png", "val/dog/y.png")
    found = list_splits(tmp_path)
    assert [len(part) for part in found.parts.values()] == [40, 2, 2]
    assert found.told == ""


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_alone_is_the_test_set(tmp_path: Path, name: str) -> None:
    (_good(tmp_path) / "test").rename(tmp_path / name)
    found = list_splits(tmp_path)
    assert [len(part) for part in found.parts.values()] == [36, 4, 2]
    assert all(path.parts[-3] == name for path in found.parts["test"].paths)
    assert found.told.startswith("val is the test set")


def test_class_folders_alone_are_split_by_seed(tmp_path: Path) -> None:
    _good(tmp_path)
    found = list_splits(tmp_path / "train")
    assert [len(part) for part in found.parts.values()] == [28, 4, 8]
    paths = [path for part in found.parts.values() for path in part.paths]
    assert len(set(paths)) == 40
    assert list_splits(tmp_path / "train").parts["test"].paths == found.parts["test"].paths
    assert found.parts["test"].labels.tolist() == [0] * 4 + [1] * 4
    assert found.drawn
    assert "seed 0" in found.told


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    _touch(_good(tmp_path), "train/cat/notes.txt", "train/cat/.hidden.png", "train/.git/a.png")
    found = list_splits(tmp_path)
    assert found.classes == ("cat", "dog")
    assert len(found.parts["train"]) + len(found.parts["val"]) == 40


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ["has no class folders", "train/CLASS"]),
        (["test/a/x.png", "test/b/x.png"], ["has test/ and no train/ folder", "train/CLASS"]),
        (["a/1.png", "a/2.png", "a/3.png", "b/1.png"], ["class 'b' has 1 images; three are"]),
        (["train/x.png"], ["has no class folders"]),
        (["train/a/x.png", "train/a/y.png"], ["no test/ and no val/ folder"]),
        (["train/a/x.png", "train/a/y.png", "test/a/x.png"], ["one class only (a)"]),
        (["train/a/x.png", "train/b/readme.txt"], ["train/b", "holds no images"]),
        (["train/a/x.png", "train/b/x.png", "test/a/x.png"], ["class 'b'", "not in test/"]),
        (
            ["train/a/x.png", "train/b/x.png", "test/a/x.png", "test/b/x.png", "test/c/x.png"],
            ["class 'c'", "not in train/"],
        ),
        (
            ["train/a/x.png", "train/b/x.png", "test/a/x.png", "test/b/x.png"],
            ["class 'a' has one image in train", "give val images"],
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, files: list[str], words: list[str]
) -> None:
    _touch(tmp_path, *files)
    with pytest.raises(InputError) as caught:
        list_splits(tmp_path)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)
