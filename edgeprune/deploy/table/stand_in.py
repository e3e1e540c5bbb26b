"""Which device the latency table of a search speaks for, and what is known of its error."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeprune.deploy.table.latency_model import Predictor
from edgeprune.deploy.table.records import Conditions, Origin
from edgeprune.target import TargetProfile

Kind = Literal["device", "this machine", "carried"]


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """What stands behind the predicted latency of a search.

    Attributes:
        kind: The device itself, this machine, or a table that was carried from a device.
        machine: Fingerprint of the machine that was measured.
        device: That machine in words; empty where its table does not say.
        measured: Day of its latest measurement, ISO 8601; empty where its table does not say.
        onnxruntime: Version that ran there.
        mean_error: Mean relative error on networks that the fit had not seen, there.
        max_error: Largest such error.
        held_out: Number of these networks.
        predicted_from: What predictions are made of, in words.
        stands_for: What the target says that this machine stands in for.
        passed_over: Why a table that was carried here does not hold; empty where there is none.
        grid: Widths that the search may use; wider layers continue the last step.
        grid_known: How those are known, in words.
    """

    kind: Kind
    machine: str
    device: str
    measured: str
    onnxruntime: str
    mean_error: float
    max_error: float
    held_out: int
    predicted_from: str = ""
    stands_for: str = ""
    passed_over: str = ""
    grid: tuple[int, ...] = ()
    grid_known: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """What a summary says of it: the table, and how its grid is known."""
        grid = " ".join(map(str, self.grid))
        return self.describe(), f"channel grid: {grid}; {self.grid_known}"

    def describe(self) -> str:
        """One line: whose table it is, and how far off it was found to be."""
        error = self.error
        if self.kind == "device":
            return f"latency table: the device's own ({self.machine}), {error}"
        if self.kind == "carried":
            return (
                f"latency table: carried from {self.device} ({self.machine}), measured there on "
                f"{self.measured} with onnxruntime {self.onnxruntime}, {error}; nothing of this "
                "run was timed on that device"
            )
        said = f"latency table: this machine's ({self.machine}), {error}"
        if self.stands_for:
            said += f"; how far it is off for {self.stands_for} is not known"
        return f"{said}; not taken: {self.passed_over}" if self.passed_over else said

    @property
    def error(self) -> str:
        """The error of the table on the machine that was measured, in words."""
        made = f"predicted from {self.predicted_from}, " if self.predicted_from else ""
        return (
            f"{made}there off by {self.mean_error:.1%} on average and {self.max_error:.1%} at "
            f"most on {self.held_out} networks that its fit had not seen"
        )

    def to_plain(self) -> dict[str, Any]:
        """What run.json keeps."""
        return asdict(self)


def kind_of(profile: TargetProfile, uri: str, machine: str) -> Kind:
    """Whether the machine that was measured is the target's device, as far as anybody said so.

    Args:
        profile: The target.
        uri: Address that was measured at.
        machine: Fingerprint found there.
    """
    named = profile.budget.absolute.fingerprint == machine
    return "device" if named or uri != "local://" else "this machine"


def stand_in(
    kind: Kind, model: Predictor, conditions: Conditions, origin: Origin | None
) -> StandIn:
    """Describe the table behind a latency model."""
    return StandIn(
        kind=kind,
        machine=conditions.machine,
        device=origin.device if origin else "",
        measured=origin.measured.isoformat() if origin else "",
        onnxruntime=conditions.onnxruntime,
        mean_error=model.fit.mean_error,
        max_error=model.fit.max_error,
        held_out=model.fit.held_out,
        predicted_from=model.source,
        grid=model.grid,
    )
