"""Target profiles: how a device runs models, its channel grid and the budgets to be met."""

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from edgeprune.documents import read_toml
from edgeprune.errors import InputError
from edgeprune.text import did_you_mean

# A share of the dense model's; above 10 a percentage was meant.
Ratio = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


NAME = r"^[a-z0-9][a-z0-9._-]*$"
Core = Literal["cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")  # a misspelt key is no default


class Runtime(_Table):
    """How onnxruntime is opened on the device, as deployed."""

    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("CPUExecutionProvider",)
    threads: PositiveInt = 1
    optimisation: Literal["disable", "basic", "extended", "all"] = "all"


class Channels(_Table):
    """Which channel widths the search may use; ``probe`` reads them off the measured table."""

    grid: Literal["probe"] | Widths = "probe"
    measured: bool = False  # a list that was read off the device's clock; else it is assumed


class Feed(_Table):
    """What one input is fed: its shape where the file leaves it open, and one value for all."""

    shape: tuple[PositiveInt, ...] | None = None
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Inputs(_Table):
    """A pinned input shape, (N, C, H, W) of an image; of several inputs a table for each."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Feed] = Field(init=False)
    shape: tuple[PositiveInt, ...] | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Pinned shapes by name of input; under ``""`` that of the one without a name."""
        named = self.__pydantic_extra__.items()
        bare = {} if self.shape is None else {"": self.shape}
        return bare | {name: feed.shape for name, feed in named if feed.shape is not None}

    @property
    def values(self) -> dict[str, float]:
        """What every element of an input is, where that is said; else it is drawn at random."""
        named = self.__pydantic_extra__.items()
        return {name: feed.value for name, feed in named if feed.value is not None}


class Precision(_Table):
    """Number format of the exported file, which is that of the latency table and the search."""

    mode: Literal["fp32", "int8", "fp16"] = "fp32"
    scheme: Literal["auto", "u8s8", "s8s8"] = "auto"
    calibration_images: Annotated[int, Field(ge=8, le=1024)] = 128
    calibration_method: Literal["auto", "minmax", "percentile", "entropy"] = "auto"
    exclude: Literal["auto", "none"] | tuple[str, ...] = "auto"
    min_integer_conv_fraction: Annotated[float, Field(ge=0, le=1)] = 0.95

    @field_validator("mode")
    @classmethod
    def _gains(cls, mode: str) -> str:
        if mode == "fp16":
            raise ValueError(
                "fp16 is not faster on CPUExecutionProvider, which casts it back to fp32, and "
                "not proven on other providers; take 'fp32' or 'int8'"
            )
        return mode


class Measure(_Table):
    """The clock of the latency check and the longest it may take."""

    clock: Literal["auto", "cpu", "wall"] = "auto"
    max_seconds: PositiveFloat = 60.0


class Parity(_Table):
    """How far the exported file may be from torch on the same images."""

    atol: PositiveFloat = 1e-4
    rtol: PositiveFloat = 1e-3
    sqnr_db: Annotated[float, Field(allow_inf_nan=False)] = 20.0  # of int8 against fp32 logits
    agreement: Annotated[float, Field(ge=0, le=1)] = 0.9  # of their first classes


class RelativeBudget(_Table):
    """Limits against the dense model; they gate on any machine. ``None``: no such budget."""

    latency: Ratio | None = None
    accuracy_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    output_error: Limit | None = None  # percent
    score_drop: Limit | None = None
    macs: Ratio | None = None
    params: Ratio | None = None


class AbsoluteBudget(_Table):
    """Limits in units of the device; milliseconds gate only where the fingerprint matches."""

    fingerprint: str | None = None
    p50_ms: PositiveFloat | None = None
    p90_ms: PositiveFloat | None = None
    macs: PositiveInt | None = None
    params: PositiveInt | None = None
    file_bytes: PositiveInt | None = None
    peak_bytes: PositiveInt | None = None
    load_ms: PositiveFloat | None = None


class Budget(_Table):
    """Every promise a model makes on this target."""

    relative: RelativeBudget = RelativeBudget()
    absolute: AbsoluteBudget = AbsoluteBudget()


class DeviceTable(_Table):
    """A command that starts a Python on the device; only the user's own profiles may have one."""

    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @property
    def uri(self) -> str:
        """The address of the device; ``local://`` where no command is named."""
        return "local://" if self.command is None else f"exec:{shlex.join(self.command)}"


class TargetProfile(_Table):
    """One device, as read from ``targets/<name>.toml`` (target.md has every key)."""

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=NAME)]
    description: str = ""
    proxy_for: str | None = None
    # Of its kernels that core's build of onnxruntime alone is asked, never another processor's.
    core: Core | None = None
    # Of this user alone: no hash covers it, and no run folder or checkpoint carries it on.
    device: DeviceTable = Field(default=DeviceTable(), exclude=True)
    runtime: Runtime = Runtime()
    channels: Channels = Channels()
    input: Inputs = Inputs()
    precision: Precision = Precision()
    measure: Measure = Measure()
    parity: Parity = Parity()
    budget: Budget = Budget()

    @property
    def sha256(self) -> str:
        """Hash of every value of the profile, defaults included; comments do not count."""
        return hashlib.sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()

    def with_budget(self, budget: Budget) -> "TargetProfile":
        """The profile with another budget."""
        return self.model_copy(update={"budget": budget})


def load_target(name: str) -> TargetProfile:
    """Read a profile by path or by name.

    Looked up in this order: the path itself, ``./targets``, the user's configuration folder,
    the profiles that come with edgeprune.

    Raises:
        InputError: no such profile, not TOML, an unknown key, a value out of range, or a command.
    """
    path = _find(name)
    try:
        profile = TargetProfile.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {problem_of(error)}") from None
    if profile.device.command and path.resolve().parent != _own_folder().resolve():
        raise InputError(
            f"{path}: device.command runs code, so only a profile in {_own_folder()} may set it; "
            "put it there, or pass --device exec:COMMAND"
        )
    return profile


def list_targets() -> dict[str, Path]:
    """Every profile that can be named, nearest folder first, without reading the files."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def data_folder(kind: str) -> Path:
    """The folder ``targets`` or ``calibration`` that came with edgeprune."""
    installed = Path(__file__).parent / "_data" / kind
    return installed if installed.is_dir() else Path(__file__).parents[1] / kind


def _folders() -> Iterator[Path]:
    yield Path("targets")  # nearest first: a project's own profile wins
    yield _own_folder()
    yield data_folder("targets")


def _own_folder() -> Path:
    return platformdirs.user_config_path("edgeprune") / "targets"


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix == ".toml" or path.parent != Path():
        if path.is_file():
            return path
        raise InputError(f"target file {name} does not exist")
    known = list_targets()
    if name in known:
        return known[name]
    raise InputError(
        f"unknown target {name!r}{did_you_mean(name, known)}; `edgeprune targets` lists them"
    )


def problems(path: Path) -> tuple[str, ...]:
    """Everything that is wrong with a profile, a line each; nothing where it is valid.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    try:
        TargetProfile.model_validate(read_toml(path))
    except ValidationError as error:
        return tuple(_said(problem) for problem in error.errors())
    return ()


def problem_of(error: ValidationError) -> str:
    """The first thing that is wrong with a profile, in one line."""
    return _said(error.errors()[0])


def _said(problem: Any) -> str:
    """One thing that pydantic refused, in our words."""
    kind, given, place = problem["type"], problem["input"], problem["loc"]
    key = ".".join(map(str, place))
    if kind == "extra_forbidden":
        *table, last = map(str, place)  # a key may hold dots itself
        return f"unknown key {key!r}{did_you_mean(last, _keys(table))}"
    if kind == "missing":
        return f"key {key!r} is missing"
    words = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {words}, got {given!r}"


def _keys(where: list[str]) -> list[str]:
    model: Any = TargetProfile
    for part in where:
        named = model.model_fields.get(part)
        model = named.annotation if named else Feed  # an input's own name
    return [field.alias or name for name, field in model.model_fields.items()]
