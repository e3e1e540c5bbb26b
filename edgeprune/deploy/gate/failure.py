"""The report of a check that ended without verdicts: its reason as JSON, JUnit and annotation."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from edgeprune.deploy.gate.formats import annotation
from edgeprune.deploy.gate.junit import Suite
from edgeprune.deploy.gate.verdicts import SCHEMA
from edgeprune.text import one_line, shortened

KINDS = {1: "promise broken", 2: "wrong input", 3: "cannot run here", 70: "internal error"}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What stopped a check.

    Attributes:
        model: Name of the file that was to be judged.
        target: Name of its target.
        reason: What was wrong and what to do next, one line.
        exit_code: What the command ends with.
        date: Time of the end, ISO 8601, UTC.
    """

    model: str
    target: str
    reason: str
    exit_code: int
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def kind(self) -> str:
        """The meaning of the exit code in few words."""
        return KINDS.get(self.exit_code, "failed")

    def to_json(self) -> str:
        """The report as JSON, schema ``edgeprune.check/1``: no verdicts, outcome ``error``."""
        body = {
            "schema": SCHEMA,
            "outcome": "error",
            "exit_code": self.exit_code,
            "kind": self.kind,
            "reason": one_line(self.reason),
            "model": {"file": one_line(self.model)},
            "target": {"name": one_line(self.target)},
            "verdicts": [],
            "date": self.date,
            "versions": {"edgeprune": version("edgeprune")},
        }
        return json.dumps(body, separators=(",", ":")) + "\n"

    def to_junit(self) -> str:
        """JUnit XML of one case, which holds an ``<error>``."""
        said = shortened(one_line(self.reason))
        suite = Suite(model=self.model, target=self.target, date=self.date, err=said)
        return suite.document([suite.case("check", ending=("error", said, self.kind))])

    def to_annotation(self) -> str:
        """One GitHub workflow command."""
        title = f"{self.model}: {self.kind}"
        return annotation("error", one_line(title), shortened(one_line(self.reason)))
