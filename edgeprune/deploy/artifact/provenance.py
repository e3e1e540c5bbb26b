"""The provenance of an exported file, as a record and as its ONNX metadata entries."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from edgeprune.deploy.artifact.parity_samples import ParitySamples
from edgeprune.errors import InputError, PromiseError
from edgeprune.text import first_problem

PREFIX = "edgeprune."
_HASHES = ("target_sha256", "dense_sha256", "checkpoint_sha256")
_TEXTS = {"version", "model", "target", "precision", *_HASHES}  # all else is JSON

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Provenance(BaseModel):
    """Where an exported file comes from and what was promised about it.

    Attributes:
        version: Version of edgeprune that exported the file.
        model: Name of the dense network, e.g. ``resnet20``.
        plan: The pruning plan as plain JSON; absent in a dense file.
        target: Name of the target profile.
        target_sha256: Hash of the profile's values.
        precision: Number format of the weights.
        input_shape: (C, H, W) of one image.
        mean: Mean of each channel (C,), of pixels in 0..1.
        std: Standard deviation of each channel (C,), of pixels in 0..1.
        classes: Names in the order of the logits.
        macs: Multiply-accumulates of one image, as published (padded shortcuts).
        params: Weights, as published.
        accuracy_dense: Top-1 of the dense network on the test images, 0..1.
        accuracy_slim: Top-1 of the slim network on the same images, 0..1.
        dense_sha256: Hash of the dense.onnx exported beside a slim file.
        checkpoint_sha256: Hash of the checkpoint that was exported.
        versions: Versions of torch, onnx and onnxruntime at export.
        parity: Real images with expected logits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    version: str
    model: str
    plan: Mapping[str, Any] | None = None
    target: str
    target_sha256: Sha256
    precision: Literal["fp32"] = "fp32"
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    macs: NonNegativeInt
    params: NonNegativeInt
    accuracy_dense: Fraction | None = None
    accuracy_slim: Fraction | None = None
    dense_sha256: Sha256 | None = None
    checkpoint_sha256: Sha256 | None = None
    versions: dict[str, str] = {}
    parity: ParitySamples | None = None

    def entries(self) -> dict[str, str]:
        """The record as ``metadata_props``: texts as they are, all else as JSON."""
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {PREFIX + k: v if isinstance(v, str) else compact(v) for k, v in values.items()}


def parse(entries: Mapping[str, str]) -> Provenance:
    """Read the record back from its entries.

    Raises:
        InputError: written by a newer edgeprune.
        PromiseError: an entry is missing, unknown or unreadable; the message names it.
    """
    values: dict[str, Any] = {}
    for key, value in entries.items():
        name = key.removeprefix(PREFIX)
        try:
            values[name] = value if name in _TEXTS else json.loads(value)
        except json.JSONDecodeError as error:
            raise PromiseError(f"entry {key} is not JSON: {error}") from None
    if values.get("schema", 1) != 1:  # before the keys, which a newer schema may have changed
        raise InputError(f"schema {values['schema']} is of a newer edgeprune; install that one")
    try:
        return Provenance.model_validate(values)
    except ValidationError as error:
        where, words = first_problem(error)
        raise PromiseError(f"entry {PREFIX}{where}: {words}") from None


def compact(value: Any) -> str:
    """JSON without spaces; letters as they are, unless a file name gave one that is none."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
