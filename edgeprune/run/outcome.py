"""What a run came to: the recovered network, the summary rows and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune.deploy.gate.verdicts import Report
from edgeprune.deploy.table.stand_in import StandIn
from edgeprune.documents import read_json, typed
from edgeprune.export.int8 import Int8Model
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import Candidate

COUNTS = ("macs", "params", "shortcut_macs")
RESULT = ("dense", "slim", "unit", "dense_int8")


@dataclass(frozen=True)
class Recovered:
    """The slim network after fine-tuning.

    Attributes:
        model: In evaluation mode, on the CPU.
        figures: Figures of the task on the validation images, of a classifier top-1, 0..1:
            ``val_dense``, ``val_before_finetune``, ``val_slim``, and ``val_int8`` where it is
            quantised.
        finetune: How it was trained, plain JSON.
        lost: What the task's budget limits, on the validation images: points of accuracy ...
        int8: The same in int8, where the target runs that.
    """

    model: nn.Module
    figures: Mapping[str, float]
    finetune: Mapping[str, Any]
    lost: float
    int8: Int8Model | None = None


@dataclass(frozen=True)
class PrunedModel:
    """A network that was chosen, measured and fine-tuned; no test image was looked at."""

    chosen: Candidate
    recovered: Recovered


@dataclass(frozen=True)
class Row:
    """One line of the summary, dense against slim.

    Attributes:
        name: What is compared.
        dense: The dense model's in fp32.
        slim: The slim model's, in int8 where the target runs that.
        unit: Unit of all.
        dense_int8: The dense model's in int8, so that nobody takes what that gains for what
            pruning gains; None in fp32.
    """

    name: str
    dense: float
    slim: float
    unit: str = ""
    dense_int8: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Where everything lies.
        rows: The figure of the task, MACs, params, bytes and measured latency, dense against slim.
        report: Verdict on every budget.
        notes: What must be known beside it.
        stand_in: Whose latency table the search had; None in a run of an earlier version.
    """

    folder: Path
    rows: tuple[Row, ...]
    report: Report
    notes: tuple[str, ...] = ()
    stand_in: StandIn | None = None

    @property
    def exit_code(self) -> int:
        """Exit code of the verdict; the table is in exit-codes.md."""
        return self.report.exit_code


def recall(folder: RunFolder) -> Outcome | None:
    """What a finished run came to, from its files; None where it is not finished."""
    known = folder.read()
    if known.get("status") != "done" or "results" not in known:
        return None
    judged, record = folder.path / "check.json", str(folder.path / "run.json")
    report = Report.from_plain(read_json(judged, finite=False), str(judged))
    results = typed(dict[str, dict[str, Any]], known["results"], record)
    rows = typed(tuple[Row, ...], [{**row, "name": name} for name, row in results.items()], record)
    notes = typed(tuple[str, ...], known.get("notes"), record)
    whose = known.get("stand_in")
    stand_in = typed(StandIn, whose, record) if whose else None
    return Outcome(folder.path, rows, report, notes, stand_in)
