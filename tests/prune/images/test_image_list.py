"""Lists of images: columns, classes and parts as people write them, and what is wrong with one."""

from pathlib import Path

import pytest

from edgeprune.errors import InputError
from edgeprune.prune.images import image_list
from edgeprune.prune.images.folders import list_splits as in_folders


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(40):
        (tmp_path / f"{number:02}.png").touch()
    return tmp_path


def _list(folder: Path, text: str, name: str = "images.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


PARTED = "".join(f"{n:02}.png,{n % 2},{'test' if n >= 30 else 'train'}\n" for n in range(40))


@pytest.mark.parametrize(
    "text",
    [
        PARTED,
        "path,class,split\n" + PARTED,
        "\ufeffFile;Label;Subset\r\n" + PARTED.replace(",", ";").replace("\n", "\r\n"),
        PARTED.replace(",", "\t"),
        PARTED.replace("test", "val"),
        "path,class,split\n\n" + PARTED.replace("train", "Training"),
    ],
)
def test_as_people_write_them(images: Path, text: str) -> None:
    found = image_list.list_splits(_list(images, text))
    assert found.classes == ("0", "1")
    assert {name: len(p) for name, p in found.parts.items()} == {"train": 28, "val": 2, "test": 10}
    assert [path.name for path in found.parts["val"].paths] == ["28.png", "29.png"]
    assert found.parts["test"].labels.tolist() == [0] * 5 + [1] * 5
    assert not found.drawn


def test_columns_may_come_in_any_order_among_others(images: Path) -> None:
    rows = (line.split(",") for line in PARTED.splitlines())
    text = "id,split,label,image\n" + "".join(f"7,{s},{c},{p}\n" for p, c, s in rows)
    assert len(image_list.list_splits(_list(images, text)).parts["test"]) == 10


def test_a_list_of_all_three_parts_may_lack_classes_in_each(images: Path) -> None:
    parts = ("train", "train", "val", "test")
    text = "".join(f"{n:02}.png,{n},{parts[n % 4]}\n" for n in range(40))
    found = image_list.list_splits(_list(images, text))
    assert len(found.classes) == 40
    assert found.parts["test"].labels.tolist() == list(range(3, 40, 4))
    assert found.lacking.startswith("20 of 40 classes have no image in train; --kd-weight 1")
    assert not found.without_classes().lacking, "nobody asks for their classes"


def test_numbered_classes_are_in_their_order(images: Path) -> None:
    text = "".join(f"{n:02}.png,{n % 12}\n" for n in range(36))
    assert image_list.list_splits(_list(images, text)).classes == tuple(map(str, range(12)))


def test_without_parts_they_are_drawn_and_the_list_of_them_reads_the_same(images: Path) -> None:
    text = "".join(f"{n:02}.png,{'cat' if n % 2 else 'a dog, big'!r}\n" for n in range(40))
    found = image_list.list_splits(_list(images, text.replace("'", '"')))
    assert found.drawn
    assert found.classes == ("a dog, big", "cat")
    assert {name: len(p) for name, p in found.parts.items()} == {"train": 28, "val": 4, "test": 8}
    written = _list(images, image_list.as_text(found), "again.csv")
    again = image_list.list_splits(written)
    assert not again.drawn
    assert again.classes == found.classes
    for name, part in found.parts.items():
        assert again.parts[name].paths == part.paths
        assert again.parts[name].labels.tolist() == part.labels.tolist()


def test_what_is_drawn_from_folders_can_be_written_down_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            (tmp_path / name / f"{number}.png").touch()
    found = in_folders(tmp_path)
    again = image_list.list_splits(_list(tmp_path, image_list.as_text(found)))
    assert [p.paths for p in again.parts.values()] == [p.paths for p in found.parts.values()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no images"),
        ("path,class\n", "lists no images"),
        ("00.png\n", "line 1: expected path,class"),
        ("path,size\n00.png,3\n", "no column class or label"),
        ("00.png,a\n01.png\n", "line 2: expected path,class"),
        ("00.png,a\nno.png,b\n", "line 2: there is no file"),
        ("00.png,a\n00.png,b\n", "lists 00.png twice (lines 1 and 2)"),
        ("00.png,a\n01.png,\n", "line 2: a path or a class is empty"),
        ("00.png,a,train\n01.png,b,holdout\n", "split 'holdout' is none of train"),
        ("00.png,a,train\n01.png,b,\n", "line 2 names no split, others do"),
        ("00.png,a,test\n01.png,b,test\n", "needs images in train, and in test or val"),
        ("00.png,a,train\n01.png,b,train\n02.png,a,test\n", "class 'b' has no image in test"),
        ("00.png,a\n01.png,a\n02.png,a\n", "one class only (a)"),
        ("00.png,a\n01.png,b\n", "class 'a' has 1 images; three are needed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(images: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        image_list.list_splits(_list(images, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match="save it as UTF-8"):
        image_list.list_splits(path)
