"""Calibration images of a quantised model: which ones, so that the same can be taken again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from edgeprune.arrays import Floats32
from edgeprune.documents import read_json
from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import stratified
from edgeprune.text import first_problem

FOLDER = Path("calibration") / "images"  # in the working directory, for lists by name


class CalibrationSet(BaseModel):
    """A list of training images; the images themselves stay where they are.

    Attributes:
        data: Name of the data set or folder.
        seed: Seed that they were drawn with, every class keeping its share.
        indices: Places among the training images, ascending.
        sha256: Hash of these images as the network takes them, float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_: Literal["edgeprune.calibration/1"] = Field(
        default="edgeprune.calibration/1", alias="schema"
    )
    data: str
    seed: NonNegativeInt
    indices: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1, max_length=4096)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def to_json(self) -> bytes:
        """The list as a file."""
        return (self.model_dump_json(by_alias=True) + "\n").encode()


def drawn(images: DataSet, count: int, seed: int = 0) -> tuple[CalibrationSet, list[Floats32]]:
    """Draw calibration images from the training images.

    Args:
        images: The data set.
        count: How many; all where there are no more.
        seed: Seed of the choice.

    Returns:
        The list, and the images, each float32 of shape (1, C, H, W), normalised.
    """
    indices = stratified(images.train.labels, count, seed).tolist()
    taken = _taken(images, indices)
    listed = CalibrationSet(
        data=images.name, seed=seed, indices=tuple(indices), sha256=_digest(taken)
    )
    return listed, taken


def read(name: str) -> CalibrationSet:
    """Read a list by path, or by name from ``calibration/images`` of the working directory.

    Raises:
        InputError: there is none, or it is damaged; the line names the file.
    """
    path = Path(name)
    if not path.suffix and not path.exists():
        path = FOLDER / f"{name}.json"
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("indices"), list):
        content["indices"] = tuple(content["indices"])  # JSON has no tuples
    try:
        return CalibrationSet.model_validate(content)
    except ValidationError as error:
        where, words = first_problem(error)
        raise InputError(f"{path} is no list of calibration images: {where}: {words}") from None


def again(listed: CalibrationSet, images: DataSet) -> list[Floats32]:
    """The images of a list, as :func:`drawn` gave them.

    Raises:
        InputError: other data, or an image that has changed or gone.
    """
    if listed.data != images.name:
        raise InputError(
            f"the calibration list is of {listed.data}, the images are {images.name}; give "
            "those with --data, or leave --calibration out to draw new ones"
        )
    count = len(images.train)
    if max(listed.indices) >= count:
        raise InputError(
            f"the calibration list names training image {max(listed.indices)}, there are {count}: "
            "images are gone; leave --calibration out to draw new ones"
        )
    taken = _taken(images, listed.indices)
    if _digest(taken) != listed.sha256:
        raise InputError(
            f"the calibration images of {listed.data} are not those of the list: images, their "
            "size or --mean and --std changed; leave --calibration out to draw new ones"
        )
    return taken


def _taken(images: DataSet, indices: Sequence[int]) -> list[Floats32]:
    chosen = images.train.subset(torch.tensor(indices, dtype=torch.int64))
    pixels = torch.cat([batch.float().cpu() for batch, _ in chosen.batches(64)])  # (N, C, H, W)
    return [image[None].contiguous().numpy() for image in pixels]


def _digest(taken: Sequence[Floats32]) -> str:
    found = hashlib.sha256()
    for image in taken:
        found.update(image.tobytes())
    return found.hexdigest()
