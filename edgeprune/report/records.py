"""Records of a run folder's files as a report reads them: strict types, unknown keys ignored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from edgeprune.deploy.gate.verdicts import Report
from edgeprune.deploy.table.stand_in import StandIn
from edgeprune.deploy.timing.samples import PairedEpoch
from edgeprune.target import NAME

PREDICTED = "predicted latency"  # result in place of "latency" where the device was not there
ACCURACY, OUTPUT_ERROR, SCORE = "accuracy", "output error", "score"  # results of the tasks
Finite = Annotated[float, Field(allow_inf_nan=False)]
Attempts = tuple[tuple[PairedEpoch, ...], ...]


class _Record(BaseModel):
    """Part of a JSON file; keys that a later version adds do no harm."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Result(_Record):
    """One row of the summary, dense against slim."""

    dense: Finite
    slim: Finite
    unit: str = ""
    dense_int8: Finite | None = None


class Chosen(_Record):
    """The network that was chosen, as searched and as measured."""

    widths: tuple[int, ...] = ()
    predicted: tuple[Finite, ...] = ()
    measured: tuple[Finite, Finite, Finite] | None = None
    scores: dict[str, float] = {}


class Member(_Record):
    """One line of a family; its folder lies in the run's."""

    latency: Finite
    folder: Annotated[str, Field(pattern=r"^\d\.\d{1,12}$")]  # nothing that leads elsewhere
    verdict: str = ""
    reason: str = ""


class Step(_Record):
    """One step of the walk to the lowest latency that keeps the accuracy."""

    latency: Finite
    kept: bool
    measured: Finite | None = None
    lost_points: Finite | None = None


class Searched(_Record):
    """One line of a run for several targets; its folder lies in the run's."""

    target: str
    shared: tuple[str, ...] = ()


class Record(_Record):
    """run.json."""

    schema_: Annotated[str, Field(alias="schema", pattern="^edgeprune[.]run/1$")]
    status: str = "unknown"
    version: str = "unknown"
    request: dict[str, Any] = {}
    chosen: Chosen | None = None
    validation: dict[str, Finite] = {}
    verdict: str = ""
    results: dict[str, Result] = {}
    notes: tuple[str, ...] = ()
    family: tuple[Member, ...] = ()
    walk: tuple[Step, ...] = ()
    stand_in: StandIn | None = None
    requests: dict[Annotated[str, Field(pattern=NAME)], dict[str, Any]] = {}
    targets: tuple[Searched, ...] = ()
    reason: str = ""


class Group(_Record):
    """Width of one channel group before and after, and the damage by width where it is known."""

    name: str
    dense: Annotated[int, Field(gt=0)]
    slim: Annotated[int, Field(ge=0)]
    grid: tuple[int, ...] = ()
    damage: tuple[Finite, ...] | None = None


class Block(_Record):
    """Latency of one block by the table, in ms."""

    name: str
    dense_ms: Finite
    slim_ms: Finite


class Layers(_Record):
    """layers.json."""

    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    latency_error: Finite = 0.0


@dataclass(frozen=True, kw_only=True)
class Network:
    """One row of front.csv or tried.csv: a network that was scored, most of them never measured.

    Attributes:
        score: ``F1``, ``refit`` or ``F2``: which score ``loss`` and ``accuracy`` are.
        latency: Predicted ratio to the dense latency.
        loss: On validation images, nats; None where it was not scored.
        accuracy: On validation images, 0..1; None where it was not scored.
        measured: Measured ratio, where it was.
        widths: Channels kept, group by group, as text.
        rule: Pruning rule that made it; empty for a search.
        why: Why it was taken or not.
        chosen: Whether it was taken.
    """

    score: str
    latency: float
    loss: float | None
    accuracy: float | None
    widths: str
    measured: float | None = None
    rule: str = ""
    why: str = ""
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Made:
    """One model of a run: the only one, or one of a family.

    Attributes:
        name: Empty for the only one, else the name of its folder.
        record: Its run.json.
        check: Its check.json; None where it was never judged.
        attempts: Sessions of each timing behind the latency verdict.
        layers: Its layers.json.
    """

    name: str
    record: Record
    check: Report | None
    attempts: Attempts
    layers: Layers | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that a report shows of one run folder.

    Attributes:
        name: Name of the folder.
        path: The folder as it was named.
        record: Its run.json.
        models: What it made, at least one entry; a failed run has one without a check.
        front: front.csv.
        tried: tried.csv, in the order of the search.
        began: Time of the first event, ISO 8601; empty where it is not known.
        ended: Time of the last.
        lacking: One line for each file that is missing or damaged.
        files: Names of the files in the folder.
        together: Of a run for several targets the requests of all, in order.
        shared: What it has from the searches for other targets, a line each.
    """

    name: str
    path: Path
    record: Record
    models: tuple[Made, ...]
    front: tuple[Network, ...]
    tried: tuple[Network, ...]
    began: str
    ended: str
    lacking: tuple[str, ...]
    files: tuple[str, ...]
    together: tuple[dict[str, Any], ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for, plain JSON."""
        return self.record.request

    @property
    def figure(self) -> str:
        """What its networks were judged by: :data:`ACCURACY`, or what took its place."""
        if self.request.get("score"):
            return SCORE
        return OUTPUT_ERROR if self.request.get("task") == "outputs" else ACCURACY

    def figure_of(self, network: Network) -> float | None:
        """That figure of a network that was scored, in its unit; a loss holds it but accuracy."""
        if self.figure == ACCURACY:
            return None if network.accuracy is None else 100 * network.accuracy
        if network.loss is None:
            return None
        return -network.loss if self.figure == SCORE else 100 * network.loss
