"""One verdict per budget of a model, the report of all of them and its exit code.

Every verdict carries the raw material it was drawn from.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from edgeprune.deploy.timing.samples import Health
from edgeprune.deploy.timing.statistics import Interval, Status, against, betting_verdict
from edgeprune.documents import typed
from edgeprune.errors import MachineError
from edgeprune.text import one_line, shortened

SCHEMA = "edgeprune.check/1"
ALPHA = 0.01  # chance of a wrong "met" of a percentile over all looks, and of a wrong "missed"
PROCESSES = 3  # before a percentile is judged: fewer show no drift
FAR = 1.05  # so far over its limit a value may not pass for want of time
DRIFT = 1.05  # how much slower a device may grow while its percentiles are measured

Outcome = Literal["met", "missed", "inconclusive", "estimate"]
Policy = Literal["warn", "fail", "pass"]
Sessions = Sequence[Sequence[float]]  # times in ms of each session's runs


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one budget.

    Attributes:
        name: The budget: ``latency``, ``p90_ms``, ``macs``, ...
        outcome: ``estimate`` is a number of another machine than the device: never a pass.
        limit: Largest value that meets the budget.
        value: What was found; None where it cannot be known.
        unit: ``x``, `` ms``, `` bytes``, `` points`` or empty for counts.
        interval: Range of the value, where it is measured.
        evidence: Where the value comes from: one line, as names from the judged file may be in it.
        rule: How the outcome was drawn: value, interval, ratio, percentile, paired, spread or
            estimate.
        raw: What it was drawn from, as plain JSON.
    """

    name: str
    outcome: Outcome
    limit: float
    value: float | None
    unit: str
    interval: tuple[float, float] | None = None
    evidence: str
    rule: str
    raw: dict[str, Any] = field(repr=False)

    @property
    def value_text(self) -> str:
        """The value with its range and unit."""
        if self.value is None:
            return "unknown"
        span = ", ".join(map(self._text, self.interval or ()))
        return f"{self._text(self.value)}{self.unit}{f' [{span}]' if span else ''}"

    @property
    def limit_text(self) -> str:
        """The limit with its unit."""
        return f"{self._text(self.limit)}{self.unit}"

    @property
    def yes_or_no(self) -> bool:
        """Whether it is a budget of yes or no, such as the seal: its numbers would be noise."""
        return self.rule == "value" and not self.limit and not self.unit

    @property
    def message(self) -> str:
        """One line of at most 400 characters: outcome, value, range, limit, distance, evidence."""
        if self.yes_or_no:
            return shortened(f"{self.outcome}: {self.name}; {self.evidence}")
        beyond = ""
        # Of points a share says nothing: half a point lost is not "-50 %" of one.
        shares = self.limit and self.value and self.unit != " points"
        if shares and self.value is not None and self.outcome != "estimate":
            beyond = f" ({self.value / self.limit - 1:+.1%})"
        return shortened(
            f"{self.outcome}: {self.name} {self.value_text}, limit {self.limit_text}{beyond}; "
            f"{self.evidence}"
        )

    def _text(self, value: float) -> str:
        return f"{value:,.0f}" if self.unit in ("", " bytes") else f"{value:.3f}"


class FileRecord(TypedDict):
    """An ONNX file in a report: its name, hash and size."""

    file: str
    sha256: str
    bytes: int


class _Target(TypedDict):
    name: str
    sha256: str
    proxy_for: str | None


class _Machine(TypedDict):
    fingerprint: str
    device: str
    cpu: str
    cores: int
    allowed_cores: int
    isa: list[str]
    onnxruntime: str
    governor: str | None
    cgroup_quota: str | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a check found; the formats are in ``formats``.

    Attributes:
        model: The file that was judged.
        reference: What it was compared with, or None.
        target: Name and sha256 of the profile it was judged by, and what that stands in for.
        verdicts: One per budget, in a fixed order.
        on_inconclusive: What an undecided or estimated budget means.
        notes: What a reader must know beside the verdicts.
        machine: The facts that the runner reads on the device, its fingerprint and address.
        health: How quiet it was, or None when nothing was timed.
        latency: Summaries in ms of ``candidate`` and ``reference``, by name.
        date: Time of the measurement, ISO 8601, UTC.
        seconds: Wall time of the check.
        versions: Versions of edgeprune and of what it measured with.
    """

    model: FileRecord
    reference: FileRecord | None
    target: dict[str, str | None]
    verdicts: tuple[Verdict, ...]
    on_inconclusive: Policy
    notes: tuple[str, ...]
    machine: dict[str, Any]
    health: Health | None
    latency: dict[str, dict[str, float]]
    date: str
    seconds: float
    versions: dict[str, str]

    @classmethod
    def from_plain(cls, content: Any, where: str) -> "Report":
        """Take what :meth:`to_json` wrote; what follows from the rest is not read.

        Raises:
            InputError: it is something else; the line names ``where``.
        """
        report = typed(cls, content, where)
        typed(_Machine, report.machine, f"{where}: machine")
        typed(_Target, report.target, f"{where}: target")
        return report

    @property
    def outcome(self) -> Status:
        """The worst of the verdicts: missed before undecided, which an estimate is, before met."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        if "missed" in outcomes:
            return "missed"
        return "met" if outcomes <= {"met"} else "inconclusive"

    @property
    def exit_code(self) -> int:
        """1 for a missed budget, 4 for an undecided one under ``fail``, else 0."""
        if self.outcome == "missed":
            return 1
        return 4 if self.outcome == "inconclusive" and self.on_inconclusive == "fail" else 0

    def to_json(self) -> str:
        """The report as JSON, schema ``edgeprune.check/1``."""
        body = asdict(self) | {"outcome": self.outcome, "exit_code": self.exit_code}
        if self.health:
            body["health"] |= {"doubts": list(self.health.doubts)}
        return json.dumps({"schema": SCHEMA, **body}, separators=(",", ":")) + "\n"


def of_value(name: str, limit: float, value: float | None, unit: str, evidence: str) -> Verdict:
    """The verdict on a value that needs no clock: at most the limit, or not; None is undecided."""
    outcome: Outcome = "inconclusive"
    if value is not None:
        outcome = "met" if value <= limit else "missed"
    return Verdict(
        name=name,
        outcome=outcome,
        limit=limit,
        value=value,
        unit=unit,
        evidence=one_line(evidence),
        rule="value",
        raw={"value": value},
    )


def far_over(name: str, value: str, limit: str, advice: str) -> MachineError:
    """The error for a value that lies over ``FAR`` times its limit, undecided for want of time."""
    return MachineError(f"{name} {value} is far over its limit of {limit} and undecided: {advice}")


def by_ratio(statuses: Sequence[Status]) -> Status:
    """The outcome of the sequential tests; a miss stands only when a second process misses too."""
    if statuses[0] == "missed" and list(statuses[1:]) != ["missed"]:
        return "inconclusive"
    return statuses[0]


def by_percentile(runs: Sequence[Sessions], percent: int, limit: float) -> Status:
    """The test by betting after 3, 4, ... processes; ``runs`` holds the sessions of each.

    The session is the unit, because its runs share an offset (about 1 %) that more of them never
    remove. A device that slows down by more than 5 % while measuring may not be done with it: its
    limit is kept only when it holds for runs as much slower again, and missed only when it does
    for runs as much faster.
    """
    chance = (100 - percent) / 100
    for look in range(PROCESSES, len(runs) + 1):
        slower = slowdown(runs[:look])
        guard = slower if slower > DRIFT else 1.0  # it may go on as it did
        for status, at in (("met", limit / guard), ("missed", limit * guard)):
            shares = [
                sum(ms > at for ms in session) / len(session)
                for process in runs[:look]
                for session in process
            ]
            if betting_verdict(shares, chance, ALPHA) == status:
                return status
    return "inconclusive"


def by_spread(values: Sequence[float], limit: float) -> Status:
    """Met when every process stayed under the limit, missed when none did."""
    return against(Interval(min(values), median(values), max(values)), limit)


def slowdown(runs: Sequence[Sessions]) -> float:
    """Median of the last third of the processes over that of the first third."""
    third = max(1, len(runs) // 3)  # processes
    return _middle(runs[-third:]) / _middle(runs[:third])


def _middle(runs: Sequence[Sessions]) -> float:
    ordered = sorted(ms for process in runs for session in process for ms in session)
    return ordered[len(ordered) // 2]
