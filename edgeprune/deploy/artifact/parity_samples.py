"""Real images and expected answers that travel inside an exported file, for its parity check."""

import base64
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from edgeprune.arrays import Floats, Floats32, Pixels

LARGEST_SIDE = 32  # four images are then 12 kB of the file


class ParitySamples(BaseModel):
    """A few images as bytes and the answers that the trained network gave to them.

    Attributes:
        images: Base64 of the uint8 pixels, C order.
        shape: (N, C, H, W) of the pixels, H and W at most 32.
        logits: Expected answers, N rows of one value a class; of several outputs one after
            another, and of maps evenly spread values, see :func:`runner.rows`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str
    shape: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    logits: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _lengths_agree(self) -> "ParitySamples":
        if len(base64.b64decode(self.images, validate=True)) != int(np.prod(self.shape)):
            raise ValueError(f"the images do not hold {self.shape} pixels")
        if len(self.logits) != self.shape[0]:
            raise ValueError(f"{len(self.logits)} answers to {self.shape[0]} images")
        return self

    @property
    def pixels(self) -> Pixels:
        """The images, shape (N, C, H, W)."""
        data = base64.b64decode(self.images)
        return np.frombuffer(data, np.uint8).reshape(self.shape)


def pack(pixels: Pixels, logits: Floats) -> ParitySamples:
    """A record of images (N, C, H, W) up to 32x32 and the answers to them (N, D) as float32."""
    return ParitySamples(
        images=base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode(),
        shape=pixels.shape,
        logits=tuple(tuple(float(f"{v:.9g}") for v in row) for row in logits.astype(np.float32)),
    )


def thumbnail(pixels: Pixels) -> Pixels:
    """Thin images (N, C, H, W) to at most 32x32; smaller ones come back as they are."""
    height, width = pixels.shape[2:]
    return _nearest(pixels, min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))


def network_input(
    pixels: Pixels, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> Floats32:
    """Enlarge by nearest neighbour and normalise, as the network was trained.

    Args:
        pixels: Shape (N, C, h, w).
        size: Height and width the network takes.
        mean: One value a channel, of pixels in 0..1.
        std: One value a channel, of pixels in 0..1.

    Returns:
        Shape (N, C, *size).
    """
    enlarged = _nearest(pixels, *size).astype(np.float64) / 255
    shape = (1, -1, 1, 1)  # one value a channel, against (N, C, H, W)
    normal = (enlarged - np.reshape(mean, shape)) / np.reshape(std, shape)
    return np.asarray(normal, np.float32)


def _nearest(pixels: Pixels, height: int, width: int) -> Pixels:
    rows = np.arange(height) * pixels.shape[2] // height  # (height,)
    columns = np.arange(width) * pixels.shape[3] // width  # (width,)
    return pixels[:, :, rows[:, None], columns[None, :]]
