"""The latency table on disk: its records, where it lies, when it is stale, how two are merged."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.timing.setting import Setting
from edgeprune.documents import read_json
from edgeprune.errors import InputError
from edgeprune.files import disk_errors, locked, write_whole
from edgeprune.target import data_folder
from edgeprune.text import first_problem

LOG = logging.getLogger(__name__)
DIGITS = 5  # a clock resolves no more, and the same measurements give the same bytes
OWN = Path("calibration")  # in the working directory, for those who make that folder

Time = Annotated[float, Field(allow_inf_nan=False)]
Timed = tuple[tuple[int, ...], Time]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Conditions(_Record):
    """Everything that has to be equal for a time to hold."""

    machine: str
    onnxruntime: str
    providers: tuple[str, ...]
    threads: int
    optimisation: str
    clock: str
    dtype: Literal["fp32", "u8s8", "u8s7", "s8s8", "s8s7"] = "fp32"


class TimedNetworks(_Record):
    """Whole networks, timed to see how the blocks add up.

    Attributes:
        reference_ms: Milliseconds of the reference unit meanwhile.
        fitted: Widths (G,) and time of the networks that the fit has seen.
        held_out: Widths (G,) and time of the networks that it has not seen.
    """

    reference_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    fitted: Annotated[tuple[Timed, ...], Field(min_length=1)]
    held_out: tuple[Timed, ...]


class Table(_Record):
    """All that was measured on one machine for one target; times are ratios to the reference.

    Attributes:
        conditions: Machine, runtime and clock that the times hold for.
        grid: Widths that the device rewards, empty where it was not probed.
        costs: What widths 1..n cost, by role, where the grid was probed.
        units: Time of every timed unit in the cache and out of it, by key.
        networks: Timed networks, by their identity.
    """

    schema_: Literal[2] = Field(default=2, alias="schema")
    conditions: Conditions
    grid: tuple[int, ...] = ()
    costs: dict[str, tuple[Time, ...]] = {}
    units: dict[str, tuple[Time, Time]] = {}
    networks: dict[str, TimedNetworks] = {}

    @field_validator("grid")
    @classmethod
    def _ascending(cls, grid: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in grid) or list(grid) != sorted(set(grid)):
            raise ValueError("widths must be positive and ascend")
        return grid

    def merged(self, other: "Table") -> "Table":
        """Both together; where both know something, this one's times stay."""
        return self.model_copy(
            update={
                "grid": self.grid or other.grid,
                "costs": self.costs or other.costs,
                "units": {**other.units, **self.units},
                "networks": {**other.networks, **self.networks},
            }
        )

    def to_json(self) -> bytes:
        """Canonical: the same content gives the same bytes."""
        content = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def rounded(value: float) -> float:
    """Round to :data:`DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def conditions_of(
    setting: Setting, machine: dict[str, Any], scheme: Scheme | None = None
) -> Conditions:
    """What holds for times taken with ``setting`` on such a device; fp32 by default."""
    return Conditions(
        machine=identify(machine),
        onnxruntime=str(machine["onnxruntime"]),
        providers=setting.runtime.providers,
        threads=setting.runtime.threads,
        optimisation=setting.runtime.optimisation,
        clock=setting.used_clock,
        dtype=scheme.name if scheme else "fp32",
    )


def known(target: str, now: Conditions, device: str) -> tuple[Table, Path | None, str]:
    """What is on disk for a target on the machine that ``now`` names.

    A table that no longer holds is forgotten where edgeprune keeps it for itself (the user's
    cache, or shipped): measuring again mends it. One under ``./calibration`` is the user's own
    work, and only ``--rebuild`` replaces it.

    Args:
        target: Name of the target.
        now: What has to be equal for its times to hold.
        device: Address of the device, for the hint.

    Returns:
        The table, empty where none holds; where it lies; why one was forgotten, or nothing.

    Raises:
        InputError: the user's own table is stale or damaged; the line says how to rebuild it.
    """
    path = next((p for p in _places(target, now) if p.is_file()), None)
    if path is None:
        return Table(conditions=now), None, ""
    try:
        table = read(path)
        refuse_stale(table, now, path)
    except InputError as error:
        if path.is_relative_to(OWN):
            remote = "" if device == "local://" else f" and `--device {device}`"
            hint = f"run `edgeprune probe --rebuild` for this target and model{remote}"
            raise InputError(f"{error}; {hint}") from None
        LOG.warning("%s; it is measured again", error)
        return Table(conditions=now), None, str(error)
    return table, path, ""


def read(path: Path) -> Table:
    """Read a table.

    Raises:
        InputError: it cannot be read, is cut off, no table or one of an earlier edgeprune.
    """
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(f"{path} is not a latency table ({error})") from None
    if isinstance(content, dict) and content.get("schema") == 1:
        raise InputError(f"{path} no longer holds: an earlier edgeprune timed other blocks")
    try:
        return Table.model_validate(content)
    except ValidationError as error:
        detail = ": ".join(part for part in first_problem(error) if part)
        raise InputError(f"{path} is not a latency table ({detail})") from None


def refuse_stale(table: Table, now: Conditions, path: Path) -> None:
    """Raise InputError, naming what changed, when a table was measured under other conditions."""
    for key, there in table.conditions.model_dump().items():
        here = getattr(now, key)
        if there != here:
            raise InputError(f"{path} is stale: measured with {key} {there}, now {here}")


def write(table: Table, target: str, *, afresh: bool) -> Path:
    """Write a table where this user may.

    Args:
        table: What was measured.
        target: Name of the target.
        afresh: Drop what is on disk. Else what another process wrote there meanwhile stays, and
            where both know something, its times do.

    Raises:
        MachineError: the disk does not take it.
    """
    root = OWN if OWN.is_dir() else platformdirs.user_cache_path("edgeprune") / "calibration"
    path = root / "latency" / target / _file_name(table.conditions)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        if path.is_file() and not afresh:
            there = read(path)  # under the lock: nobody writes before we have
            table = there.merged(table) if there.conditions == table.conditions else table
        write_whole(path, table.to_json())
    return path


def _file_name(conditions: Conditions) -> str:
    """One file for each kind of machine and each number format."""
    dtype = "" if conditions.dtype == "fp32" else f"-{conditions.dtype}"
    return f"{conditions.machine}{dtype}.json"


def _places(target: str, now: Conditions) -> Iterator[Path]:
    """Where a machine's table may lie: in the working directory, the user's cache, as shipped."""
    cache = platformdirs.user_cache_path("edgeprune") / "calibration"
    for root in (OWN, cache, data_folder("calibration")):
        yield root / "latency" / target / _file_name(now)
