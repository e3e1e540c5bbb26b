"""What a device may answer: kinds of lines, types, ranges and sizes; all else is refused."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edgeprune.errors import MachineError
from edgeprune.text import first_problem, one_line

MOST_BYTES = 64 << 20  # of a line: an optimised graph without weights has some megabytes
MOST_BANNER = 1000  # lines before and between answers that are no JSON

Text = Annotated[str, Field(max_length=500)]
Count = Annotated[int, Field(ge=0, lt=1 << 63, strict=True)]
Duration = Annotated[int, Field(gt=0, lt=1 << 63, strict=True)]
Level = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Flags = Annotated[list[Text], Field(max_length=100)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Facts(_Line):
    arch: Text
    system: Text
    cpu: Text
    cores: Duration
    allowed_cores: Duration
    isa: Flags
    memory_bytes: Count
    governor: Text | None
    cgroup_quota: Text | None
    python: Text
    onnxruntime: Text
    providers: Flags
    emulated: Text | None = None


class _Machine(_Line):
    kind: Literal["machine"]
    machine: _Facts


class _Graph(_Line):
    kind: Literal["graph"]
    model: Count
    onnx: Base64


class _Memory(_Line):
    kind: Literal["memory"]
    model: Count
    load_ns: Duration
    peak_bytes: Annotated[int, Field(ge=-(1 << 62), lt=1 << 62, strict=True)]


class _Node(_Line):
    name: Text
    op: Text
    provider: Text
    ns: Count


class _Profile(_Line):
    kind: Literal["profile"]
    model: Count
    nodes: list[_Node]


class _Outputs(_Line):
    kind: Literal["outputs"]
    model: Count
    shapes: dict[str, Annotated[list[Count], Field(max_length=64)]]


class _Logits(_Line):
    kind: Literal["logits"]
    model: Count
    shape: Annotated[list[Count], Field(max_length=64)]
    data: Base64


class _Epoch(_Line):
    kind: Literal["epoch"]
    epoch: Count
    opened_ns: list[Duration]
    finite: list[bool]
    samples: Annotated[list[list[list[Duration]]], Field(min_length=1)]
    load: Level
    cpu_ns: Count
    wall_ns: Duration
    ticks: Count
    steal_ticks: Count
    throttled_us: Count


class _Error(_Line):
    kind: Literal["error"]
    code: Literal["missing", "provider", "memory", "model", "machine"]
    message: Annotated[str, Field(max_length=2000)]
    subject: Annotated[str, Field(max_length=1000)] = ""


class _End(_Line):
    kind: Literal["end"]


_ANSWER: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Machine | _Graph | _Memory | _Profile | _Outputs | _Logits | _Epoch | _Error | _End,
        Field(discriminator="kind"),
    ]
)


class Lines:
    """Cuts what comes from a device in pieces into lines."""

    def __init__(self, where: str) -> None:
        """``where`` is the device, for messages."""
        self.where = where
        self._begun = bytearray()

    def of(self, piece: bytes) -> Iterator[bytes]:
        """The lines that end in this piece.

        Raises:
            MachineError: a line is longer than 64 MiB.
        """
        first, *others = piece.split(b"\n")
        self._begun += first
        for other in others:
            yield bytes(self._begun)
            self._begun[:] = other
        if len(self._begun) > MOST_BYTES:
            raise MachineError(
                f"{self.where}: a line of its answer has more than {MOST_BYTES >> 20} MiB"
            )

    def rest(self) -> Iterator[bytes]:
        """What no line break ended."""
        if self._begun:
            yield bytes(self._begun)
        self._begun.clear()


def read_line(text: str | bytes, where: str) -> dict[str, Any] | None:
    """Read one line of a device's answer; None where it is no JSON, a banner or a warning.

    Raises:
        MachineError: it is JSON that no runner says.
    """
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict):  # a banner may be a number
        return None
    try:
        _ANSWER.validate_python(line)
    except ValidationError as error:
        place, words = first_problem(error)
        said = one_line(f"{place}: {words}")[:300]
        raise MachineError(f"{where}: it answers what no runner says ({said})") from None
    if "machine" in line:  # printed and written to reports
        line["machine"] = {key: _printable(value) for key, value in line["machine"].items()}
    return line


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return [one_line(each) for each in value]
    return one_line(value) if isinstance(value, str) else value
