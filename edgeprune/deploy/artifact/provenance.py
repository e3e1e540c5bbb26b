"""The provenance of an exported file, as a record and as its ONNX metadata entries."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from edgeprune.deploy.artifact.parity_samples import ParitySamples
from edgeprune.documents import parse_json
from edgeprune.errors import InputError, PromiseError
from edgeprune.text import first_problem

PREFIX = "edgeprune."
_HASHES = ("target_sha256", "dense_sha256", "checkpoint_sha256")
_TEXTS = {
    *("version", "model", "target", "precision", "channel_order", "resize", "licence"),
    *_HASHES,
}  # all else is JSON

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegativeFinite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PairedCounts(BaseModel):
    """On how many test images the dense and the slim network were right.

    Attributes:
        both: Images that both got right.
        dense: Images that only the dense network got right.
        slim: Images that only the slim network got right.
        neither: Images that both got wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    both: NonNegativeInt
    dense: NonNegativeInt
    slim: NonNegativeInt
    neither: NonNegativeInt

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.images:
            raise ValueError("no image was answered")
        return self

    @property
    def images(self) -> int:
        """All test images."""
        return self.both + self.dense + self.slim + self.neither

    @property
    def dense_share(self) -> float:
        """Top-1 of the dense network, 0..1."""
        return (self.both + self.dense) / self.images

    @property
    def slim_share(self) -> float:
        """Top-1 of the slim network, 0..1."""
        return (self.both + self.slim) / self.images

    @property
    def lost(self) -> float:
        """Top-1 lost by slimming, as a share of the images."""
        return (self.dense - self.slim) / self.images


class OneError(BaseModel):
    """The relative error of one output on the test images, see ``output_error.py``.

    Attributes:
        low: Lower bound of its 99 % interval.
        error: The error.
        high: Upper bound.
        agreement: Share of the images whose largest value is the same one; None of maps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: NonNegativeFinite
    error: NonNegativeFinite
    high: NonNegativeFinite
    agreement: Fraction | None = None


class OutputErrors(BaseModel):
    """How far the slim network's outputs are from the dense one's.

    Attributes:
        images: Number of test images.
        errors: Of every output by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    images: PositiveInt
    errors: Annotated[Mapping[str, OneError], Field(min_length=1)]


class ScorePair(BaseModel):
    """A user's own score of the dense and of the slim network on the test images.

    Attributes:
        name: What the score is called.
        dense: The dense network's.
        slim: The slim one's; the higher the better.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    dense: Annotated[float, Field(allow_inf_nan=False)]
    slim: Annotated[float, Field(allow_inf_nan=False)]


class Quantisation(BaseModel):
    """How an int8 file was made, and what was proven of it.

    Attributes:
        scheme: Types of activations and weights, such as ``u8s8``.
        method: How the ranges of the activations were found.
        calibration_images: Number of images that they come from.
        calibration_sha256: Hash of these images.
        excluded: Layers that were left in float to keep the accuracy.
        sqnr_db: Signal to error ratio of the logits on these images against fp32, dB; 999 is
            no error.
        agreement: Share of these images with the same first class, 0..1.
        integer_convolutions: Convolutions that ran on integers where it was exported.
        float_convolutions: Those that did not.
        twin_sha256: Hash of the same network in fp32, exported beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["u8s8", "u8s7", "s8s8", "s8s7"]
    method: Literal["minmax", "percentile", "entropy"]
    calibration_images: PositiveInt
    calibration_sha256: Sha256
    excluded: tuple[str, ...] = ()
    sqnr_db: Annotated[float, Field(allow_inf_nan=False)]
    agreement: Fraction
    integer_convolutions: NonNegativeInt
    float_convolutions: tuple[str, ...] = ()
    twin_sha256: Sha256 | None = None


class Provenance(BaseModel):
    """Where an exported file comes from and what was promised about it.

    Attributes:
        version: Version of edgeprune that exported the file.
        model: Name of the dense network, e.g. ``resnet20``.
        plan: The pruning plan as plain JSON; absent in a dense file.
        target: Name of the target profile.
        target_sha256: Hash of the profile's values.
        precision: Number format of weights and activations.
        quantisation: How an int8 file was made; absent in fp32.
        input_shape: (C, H, W) of one image.
        mean: Mean of each channel (C,), of pixels in 0..1.
        std: Standard deviation of each channel (C,), of pixels in 0..1.
        channel_order: What the channels of the input are.
        resize: How an image comes to the input's size, in words.
        licence: What the file may be used for.
        classes: Names in the order of the logits; none of a network that does not classify.
        dense_widths: Channels that each layer made before slimming; absent in a dense file.
        macs: Multiply-accumulates of one image, as published (padded shortcuts).
        params: Weights, as published.
        accuracy_dense: Top-1 of the dense network on the test images, 0..1.
        accuracy_slim: Top-1 of the slim network on the same images, 0..1.
        answers: Both networks' answers on those images, counted in pairs.
        outputs: Errors of the outputs, of a network that was searched by them.
        score: The user's own score of both networks, of one that was searched by it.
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
    precision: Literal["fp32", "int8"] = "fp32"
    quantisation: Quantisation | None = None
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: Literal["RGB", "grey", "RGBA"] | None = None
    resize: str | None = None
    licence: str | None = None
    classes: tuple[str, ...]
    dense_widths: Mapping[str, PositiveInt] | None = None
    macs: NonNegativeInt
    params: NonNegativeInt
    accuracy_dense: Fraction | None = None
    accuracy_slim: Fraction | None = None
    answers: PairedCounts | None = None
    outputs: OutputErrors | None = None
    score: ScorePair | None = None
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
            values[name] = value if name in _TEXTS else parse_json(value, f"entry {key}")
        except InputError as error:
            raise PromiseError(str(error)) from None
    if values.get("schema", 1) != 1:  # before the keys, which a newer schema may have changed
        raise InputError(f"schema {values['schema']} is of a newer edgeprune; install that one")
    try:
        return Provenance.model_validate(values)
    except ValidationError as error:
        where, words = first_problem(error)
        raise PromiseError(f"entry {PREFIX}{where}: {words}") from None


def paired_counts(recorded: Mapping[str, str]) -> PairedCounts | None:
    """The counts of answers among a file's entries, names without prefix; None without any.

    Counts that cannot be read, or that contradict the accuracies beside them, are none.
    """
    try:
        counts = PairedCounts.model_validate_json(recorded["answers"])
        dense, slim = float(recorded["accuracy_dense"]), float(recorded["accuracy_slim"])
    except (KeyError, ValueError):
        return None
    agree = abs(dense - counts.dense_share) < 1e-9 and abs(slim - counts.slim_share) < 1e-9
    return counts if agree else None


def compact(value: Any) -> str:
    """JSON without spaces; letters as they are, unless a file name gave one that is none."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
