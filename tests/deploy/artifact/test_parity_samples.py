"""Parity samples: pixels and logits survive the record, and inputs are rebuilt exactly."""

import numpy as np
import pytest
from pydantic import ValidationError

from edgeprune.deploy.artifact import parity_samples as samples


def _pixels(n, c, h, w):
    return np.random.default_rng(0).integers(0, 256, (n, c, h, w), dtype=np.uint8)


def test_pixels_and_logits_survive_json():
    pixels = _pixels(4, 3, 32, 32)
    logits = np.random.default_rng(1).normal(size=(4, 10))
    packed = samples.pack(pixels, logits)
    back = samples.ParitySamples.model_validate_json(packed.model_dump_json())
    assert np.array_equal(back.pixels, pixels)
    assert np.array_equal(np.float32(back.logits), np.float32(logits))


@pytest.mark.parametrize(
    ("shape", "thumb"),
    [((2, 3, 224, 224), (32, 32)), ((2, 1, 28, 28), (28, 28)), ((2, 3, 33, 20), (32, 20))],
)
def test_thumbnails_are_at_most_32(shape, thumb):
    pixels = _pixels(*shape)
    assert samples.thumbnail(pixels).shape == (*shape[:2], *thumb)


def test_small_images_come_back_as_they_are():
    pixels = _pixels(1, 3, 32, 32)
    assert np.array_equal(samples.thumbnail(pixels), pixels)
    plain = samples.network_input(pixels, (32, 32), (0, 0, 0), (1, 1, 1))
    assert np.array_equal(np.round(plain * 255), pixels)


def test_enlarging_repeats_each_pixel():
    pixels = _pixels(1, 1, 2, 2)
    plain = samples.network_input(pixels, (4, 6), (0.0,), (1 / 255,))
    assert np.array_equal(plain, pixels.repeat(2, axis=2).repeat(3, axis=3))


def test_normalisation_by_hand():
    pixels = np.array([[[[51]], [[255]]]], np.uint8)
    found = samples.network_input(pixels, (1, 1), (0.1, 0.5), (0.5, 0.25))
    assert found.dtype == np.float32
    assert found.ravel() == pytest.approx([0.2, 2.0])


@pytest.mark.parametrize(
    "change", [{"shape": (3, 3, 4, 4)}, {"logits": ((0.0,),)}, {"images": "*"}, {"extra": 1}]
)
def test_records_that_contradict_themselves_are_refused(change):
    record = samples.pack(_pixels(2, 3, 4, 4), np.zeros((2, 5))).model_dump()
    with pytest.raises(ValidationError):
        samples.ParitySamples.model_validate({**record, **change})
