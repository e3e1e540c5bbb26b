"""The records of a latency table; as JSON they are the file that is kept and passed on."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgeprune.deploy.devices.fingerprint import KEYS, identify
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.timing.setting import Setting
from edgeprune.target import NAME
from edgeprune.text import one_line

FORMAT = 2  # "schema" of the file
DIGITS = 5  # a clock resolves no more, and the same measurements give the same bytes

Time = Annotated[float, Field(allow_inf_nan=False)]
Timed = tuple[tuple[int, ...], Time]
Fact = Annotated[str, Field(max_length=200)]


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


class Facts(_Record):
    """The facts of a machine that its fingerprint is made of."""

    arch: Fact
    system: Fact
    cpu: Fact
    cores: Annotated[int, Field(ge=1)]
    isa: tuple[Fact, ...]


class Origin(_Record):
    """Where a table comes from, for those who did not measure it.

    Attributes:
        target: Name of the target that it was measured for.
        machine: The device.
        measured: Day of its latest measurement, UTC.
    """

    target: Annotated[str, Field(pattern=NAME)]
    machine: Facts
    measured: date

    @property
    def device(self) -> str:
        """The device in words."""
        return one_line(f"{self.machine.cpu}, {self.machine.cores} cores")


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
        origin: Device and day; None in a file of an earlier version.
        grid: Widths that the device rewards, empty where it was not probed.
        costs: What widths 1..n cost, by role, where the grid was probed.
        units: Time of every timed unit in the cache and out of it, by key.
        networks: Timed networks, by their identity.
    """

    schema_: Literal[2] = Field(default=2, alias="schema")
    conditions: Conditions
    origin: Origin | None = None
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
        origins = [table.origin for table in (self, other) if table.origin]
        return self.model_copy(
            update={
                "origin": max(origins, key=lambda origin: origin.measured, default=None),
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


def origin_of(target: str, machine: Mapping[str, Any]) -> Origin:
    """Where a table that is measured today on such a device comes from."""
    facts = Facts.model_validate({key: machine[key] for key in KEYS})
    return Origin(target=target, machine=facts, measured=datetime.now(UTC).date())
