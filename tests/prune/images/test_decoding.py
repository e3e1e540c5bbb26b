"""Decoding: the right pixels, a cache that is trusted only as far as it is intact."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgeprune.errors import InputError
from edgeprune.prune.images import decoding
from edgeprune.prune.images.decoding import decode, fingerprint, fitted, open_image
from edgeprune.prune.images.splits import Listing
from edgeprune.prune.images.streamed import StreamedImages


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    generator = np.random.default_rng(0)
    paths = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
        paths.append(path)
    return Listing(tuple(paths), np.zeros(5, np.int64))


def test_pixels_are_those_of_the_files(listing: Listing, tmp_path: Path) -> None:
    done: list[tuple[str, int, int]] = []
    pixels = decode(
        {"train": listing.subset(np.array([3, 1])), "test": listing.subset(np.array([0]))},
        (3, 8, 8),
        "key",
        cache=tmp_path / "cache",
        progress=lambda *counts: done.append(counts),
    )
    assert pixels["train"].shape == (2, 3, 8, 8)
    original = np.asarray(Image.open(listing.paths[1]))
    assert np.array_equal(pixels["train"][1], original.transpose(2, 0, 1))
    assert done[-1] == ("decoding images", 3, 3)


def test_the_second_time_comes_from_the_cache(listing: Listing, tmp_path: Path) -> None:
    first = decode({"all": listing}, (3, 8, 8), "key", cache=tmp_path / "cache")
    for path in listing.paths:
        path.unlink()
    again = decode({"all": listing}, (3, 8, 8), "key", cache=tmp_path / "cache")
    assert np.array_equal(first["all"], again["all"])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other shape"])
def test_a_damaged_cache_is_made_again(
    listing: Listing, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = decode({"all": listing}, (3, 8, 8), "key", cache=tmp_path / "cache")
    [cached] = (tmp_path / "cache").iterdir()
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 255
    damaged = {"truncated": bytes(content[:300]), "flipped": bytes(content), "empty": b""}
    if damage == "other shape":
        np.savez(cached, all=first["all"][:2])
    else:
        cached.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        again = decode({"all": listing}, (3, 8, 8), "key", cache=tmp_path / "cache")
    assert np.array_equal(first["all"], again["all"])
    assert ("damaged" in caplog.text) == (damage != "other shape")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cached.name]


def test_a_cache_that_cannot_be_written_costs_no_more_than_time(
    listing: Listing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        pixels = decode({"all": listing}, (3, 8, 8), "key", cache=tmp_path / "file" / "cache")
    assert pixels["all"].shape == (5, 3, 8, 8)
    assert "cache not kept" in caplog.text


def test_the_key_follows_the_files_and_not_their_place(listing: Listing, tmp_path: Path) -> None:
    before = fingerprint({"all": listing}, tmp_path)
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)
    there = Listing(tuple(moved / path.name for path in listing.paths), listing.labels)
    assert fingerprint({"all": there}, moved) == before
    there.paths[0].write_bytes(b"other")
    assert fingerprint({"all": there}, moved) != before


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\nbroken"])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read the image .*broken\.png"):
        open_image(path)


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    stored = np.zeros((8, 16, 3), np.uint8)  # lying on its side: turned by 90 degrees when shown
    stored[:, :8] = 255
    record = Image.Exif()
    record[0x0112] = 6  # orientation: turn clockwise
    path = tmp_path / "phone.jpg"
    Image.fromarray(stored).save(path, exif=record, quality=95)
    shown = np.asarray(open_image(path))
    assert shown.shape == (16, 8, 3)
    assert shown[:6].min() > 200
    assert shown[-6:].max() < 55


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_kind_of_8_bits_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode in ("CMYK", "YCbCr") else "image.png")
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    found = np.asarray(open_image(path))
    assert found.shape == (8, 8, 3)
    assert found.min() >= 254


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_what_would_turn_white_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "deep.tif"
    kind = {"I;16": np.uint16, "F": np.float32}[mode]
    Image.fromarray(np.full((8, 8), 20000, kind)).save(path)
    with pytest.raises(InputError, match=r"deep\.tif holds more than 8 bits a channel"):
        open_image(path)


def test_decoding_stops_at_an_unreadable_image(listing: Listing, tmp_path: Path) -> None:
    listing.paths[2].write_bytes(listing.paths[2].read_bytes()[:60])
    with pytest.raises(InputError, match=r"2\.png"):
        decode({"all": listing}, (3, 8, 8), "key", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("width", "height"), [(8, 8), (16, 8), (8, 24), (5, 3)])
@pytest.mark.parametrize("size", [(8, 8), (4, 12), (12, 4)])
def test_the_middle_is_cut_out(width: int, height: int, size: tuple[int, int]) -> None:
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[:, width // 2 :] = 255
    cut = np.asarray(fitted(Image.fromarray(ramp), size), dtype=np.float64)
    assert cut.shape == (*size, 3)
    assert cut[:, 0].mean() < cut[:, -1].mean()


def test_nothing_is_stretched() -> None:
    disc = Image.new("L", (100, 40))
    ImageDraw.Draw(disc).ellipse((30, 0, 69, 39), fill=255)
    seen = np.asarray(fitted(disc, (20, 80))) > 127
    columns, rows = seen.any(0).sum(), seen.any(1).sum()
    assert (columns, rows) == (32, 20)  # scaled by 0.8: 32 wide; its top and bottom are cut off


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_have_the_channels_of_the_network(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.png"
    Image.new("RGBA", (10, 6), (200, 100, 0, 128)).save(path)
    pixels = decode(
        {"all": Listing((path,), np.zeros(1, np.int64))}, (channels, 6, 10), "key", cache=tmp_path
    )["all"]
    wanted = {1: [118], 3: [200, 100, 0], 4: [200, 100, 0, 128]}[channels]
    assert pixels.shape == (1, channels, 6, 10)
    assert pixels[0, :, 0, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 6)]
)
def test_cores_are_those_that_the_container_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(decoding, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(decoding.os, "sched_getaffinity", lambda process: set(range(6)))
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 64)
    assert decoding.allowed_cores() == cores
    assert StreamedImages(listing=Listing((), np.arange(0)), size=(8, 8)).workers == cores
