"""What a check found: one verdict per budget line, the whole report, and its exit code.

Every verdict carries the raw material it was drawn from, so ``recompute`` reaches the same
verdicts from the JSON alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeprune.deploy.timing.samples import PairedEpoch
from edgeprune.deploy.timing.sequential import ALPHA, decide
from edgeprune.deploy.timing.statistics import Interval, Status, against, percentile_verdict
from edgeprune.errors import InputError
from edgeprune.text import one_line

SCHEMA = "edgeprune.check/1"
PERCENTILE_LOOKS = (3, 4, 6, 8, 12)  # processes
DRIFT = 1.05  # how much slower a device may grow while its percentiles are measured

Outcome = Literal["met", "missed", "inconclusive", "estimate"]
Policy = Literal["warn", "fail", "pass"]


@dataclass(frozen=True)
class Verdict:
    """One budget line.

    Attributes:
        name: The budget: ``latency``, ``p90_ms``, ``macs``, ...
        outcome: ``estimate`` is a number of another machine than the device: never a pass.
        limit: Largest value that meets the budget.
        value: What was found.
        unit: ``x``, `` ms``, `` bytes``, `` points`` or empty for counts.
        interval: Range of the value, where it is measured.
        evidence: Where the value comes from, in words.
        rule: How ``raw`` turns into ``outcome``: a key of ``RULES``.
        raw: What the rule needs, as plain JSON.
    """

    name: str
    outcome: Outcome
    limit: float
    value: float
    unit: str
    interval: tuple[float, float] | None
    evidence: str
    rule: str
    raw: dict[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        """Flatten the evidence: it holds names from the file that is judged."""
        object.__setattr__(self, "evidence", one_line(self.evidence))

    @property
    def value_text(self) -> str:
        """The value with its range and unit."""
        span = ", ".join(map(self._text, self.interval or ()))
        return f"{self._text(self.value)}{self.unit}{f' [{span}]' if span else ''}"

    @property
    def limit_text(self) -> str:
        """The limit with its unit."""
        return f"{self._text(self.limit)}{self.unit}"

    @property
    def message(self) -> str:
        """One line: outcome, value, range, limit and the distance to it."""
        if (
            self.rule == "value" and not self.limit and not self.unit
        ):  # yes or no: a number is noise
            return f"{self.outcome}: {self.name}; {self.evidence}"
        compares = self.limit and self.outcome != "estimate"
        beyond = f" ({self.value / self.limit - 1:+.1%})" if compares else ""
        return (
            f"{self.outcome}: {self.name} {self.value_text}, limit {self.limit_text}{beyond}; "
            f"{self.evidence}"
        )

    def _text(self, value: float) -> str:
        return f"{value:,.0f}" if self.unit in ("", " bytes") else f"{value:.3f}"


@dataclass(frozen=True)
class Report:
    """Everything a check found; the formats are in ``formats``.

    Attributes:
        model: Name, sha256 and bytes of the file.
        reference: The same for what it was compared with, or None.
        target: Name and sha256 of the profile, and what it stands in for.
        verdicts: One per budget, in a fixed order.
        on_inconclusive: What an undecided or estimated budget means.
        notes: What a reader must know beside the verdicts.
        machine: The device's facts, its fingerprint and address.
        health: How quiet it was, or None when nothing was timed.
        latency: Summaries in ms of ``candidate`` and ``reference``, by name.
        date: When it was measured, ISO 8601, UTC.
        seconds: Wall time of the check.
        versions: Of edgeprune and what it measured with.
    """

    model: dict[str, Any]
    reference: dict[str, Any] | None
    target: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    on_inconclusive: Policy
    notes: tuple[str, ...]
    machine: dict[str, Any]
    health: dict[str, Any] | None
    latency: dict[str, dict[str, float]]
    date: str
    seconds: float
    versions: dict[str, str]

    @property
    def outcome(self) -> Status:
        """The worst of the verdicts; an estimate counts as undecided."""
        return worst([verdict.outcome for verdict in self.verdicts])

    @property
    def exit_code(self) -> int:
        """0, 1 or 4; the table is in docs/exit-codes.md."""
        return exit_code(self.outcome, self.on_inconclusive)

    def to_json(self) -> str:
        """Schema ``edgeprune.check/1``; ``recompute`` reads it."""
        body = asdict(self) | {"outcome": self.outcome, "exit_code": self.exit_code}
        return json.dumps({"schema": SCHEMA, **body}, separators=(",", ":")) + "\n"


def worst(outcomes: Sequence[Outcome]) -> Status:
    """``missed`` before undecided before ``met``."""
    if "missed" in outcomes:
        return "missed"
    return "met" if all(outcome == "met" for outcome in outcomes) else "inconclusive"


def exit_code(outcome: Status, policy: Policy) -> int:
    """1 for a missed budget, 4 for an undecided one under ``fail``, else 0."""
    if outcome == "missed":
        return 1
    return 4 if outcome == "inconclusive" and policy == "fail" else 0


def recompute(text: str) -> tuple[list[Outcome], int]:
    """Draw every verdict of a JSON report again from its raw material.

    Returns:
        The outcomes in the report's order, and the exit code that follows.

    Raises:
        InputError: not a report of this schema.
    """
    try:
        report = json.loads(text)
        if report["schema"] != SCHEMA:
            raise InputError(f"a report of schema {report['schema']!r}; this reads {SCHEMA}")
        lines = report["verdicts"]
        outcomes = [RULES[line["rule"]](line["raw"], line["limit"]) for line in lines]
        return outcomes, exit_code(worst(outcomes), report["on_inconclusive"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"not a report of schema {SCHEMA}; write one with --json") from None


def by_value(raw: dict[str, Any], limit: float) -> Outcome:
    """A count that needs no clock: at most the limit, or not."""
    return "met" if raw["value"] <= limit else "missed"


def by_ratio(raw: dict[str, Any], limit: float) -> Outcome:
    """The sequential test; a miss stands only when a second process misses too."""
    statuses: list[Status] = []
    for attempt in raw["attempts"]:
        epochs = [PairedEpoch(**epoch) for epoch in attempt["epochs"]]
        statuses.append(decide(epochs, limit, attempt["clock"]).status)
    if statuses[0] == "missed" and statuses[1:] != ["missed"]:
        return "inconclusive"
    return statuses[0]


def by_percentile(raw: dict[str, Any], limit: float) -> Outcome:
    """The exact binomial test after 3, 4, ... processes.

    A device that slows down by more than 5 % while measuring may not be done with it: its limit
    is kept only when it holds for runs as much slower again, and missed only when it does for
    runs as much faster.
    """
    runs: list[list[float]] = raw["runs_ms"]
    for look in PERCENTILE_LOOKS:
        if look > len(runs):
            break
        every = [ms for run in runs[:look] for ms in run]
        slower = slowdown(runs[:look])
        guard = slower if slower > DRIFT else 1.0
        for status, at in (("met", limit / guard), ("missed", limit * guard)):
            over = sum(ms > at for ms in every)
            if percentile_verdict(len(every), over, raw["percentile"], ALPHA) == status:
                return status
    return "inconclusive"


def by_spread(raw: dict[str, Any], limit: float) -> Outcome:
    """Met when every process stayed under the limit, missed when none did."""
    values = raw["values"]
    return against(Interval(min(values), values[0], max(values)), limit)


def always_estimate(_: dict[str, Any], __: float) -> Outcome:
    """Another machine's milliseconds prove nothing about the device."""
    return "estimate"


def slowdown(runs: Sequence[Sequence[float]]) -> float:
    """Median of the last third of the processes over that of the first third."""
    third = max(1, len(runs) // 3)
    first = sorted(ms for run in runs[:third] for ms in run)
    last = sorted(ms for run in runs[-third:] for ms in run)
    return last[len(last) // 2] / first[len(first) // 2]


RULES = {
    "value": by_value,
    "ratio": by_ratio,
    "percentile": by_percentile,
    "spread": by_spread,
    "estimate": always_estimate,
}
