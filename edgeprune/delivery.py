"""A recovered network becomes files, a verdict and a summary."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgeprune import checkpoint
from edgeprune.checkpoint import Checkpoint
from edgeprune.deploy import gate
from edgeprune.deploy.timing import compare
from edgeprune.deploy.verdicts import Report
from edgeprune.files import write_whole
from edgeprune.finalist import Candidate, Timing
from edgeprune.prune.cost import CostModel
from edgeprune.prune.space import Widths
from edgeprune.run_folder import RunFolder
from edgeprune.ship import Shipped, load_and_ship, ship
from edgeprune.target import TargetProfile

COUNTS = ("macs", "params", "shortcut_macs")


@dataclass(frozen=True)
class Recovered:
    """The slim network after fine-tuning.

    Attributes:
        model: In evaluation mode, on the CPU.
        accuracy: Top-1, 0..1: ``dense`` and ``slim`` on the test images, ``val_dense``,
            ``val_before_finetune`` and ``val_slim`` on the validation images.
        finetune: How it was trained, plain JSON.
    """

    model: nn.Module
    accuracy: Mapping[str, float]
    finetune: Mapping[str, Any]


@dataclass(frozen=True)
class Parcel:
    """Everything that goes into the files.

    Attributes:
        record: What is known of the dense model.
        dense: It, shortcuts rewritten.
        chosen: The widths, and their latency as measured before fine-tuning.
        recovered: The slim network.
        full: Widths of the dense model, shape (G,).
        counts: MACs and params of widths.
    """

    record: Checkpoint
    dense: nn.Module
    chosen: Candidate
    recovered: Recovered
    full: Widths
    counts: CostModel


@dataclass(frozen=True)
class Row:
    """One line of the summary, dense against slim."""

    name: str
    dense: float
    slim: float
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Where everything lies.
        rows: Accuracy, MACs, params, bytes and measured latency, dense against slim.
        report: Verdict on every budget.
    """

    folder: Path
    rows: tuple[Row, ...]
    report: Report


def deliver(parcel: Parcel, target: TargetProfile, timing: Timing, folder: RunFolder) -> Outcome:
    """Write dense.onnx, model.pt and model.onnx, then judge as ``edgeprune check`` will.

    Args:
        parcel: What to write.
        target: Profile the files are made for.
        timing: The same with the budget that was asked for, and where it is judged.
        folder: Where everything goes; earlier files of these names are replaced.
    """
    dense, slim = _records(parcel)
    dense_file = ship(parcel.dense, dense, target, folder.path / "dense.onnx", overwrite=True)
    slim = replace(slim, history={**slim.history, "dense_sha256": dense_file.sha256})
    checkpoint.write(folder.path / "model.pt", slim, overwrite=True)
    checkpoint.write(folder.path / "dense.pt", dense, overwrite=True)  # finetune's teacher
    slim_file = load_and_ship(
        folder.path / "model.pt", folder.path / "model.onnx", target, overwrite=True, trust=True
    )
    folder.event("exported", parity=asdict(slim_file.parity))
    report = gate.check(slim_file.path, timing.profile, timing.options(dense_file.path))
    write_whole(folder.path / "check.json", report.to_json().encode())
    files = dense_file, slim_file
    medians = _medians(report, files, timing)
    rows = _rows(parcel.recovered.accuracy, (dense.history, slim.history), files, medians)
    results = {row.name: {"dense": row.dense, "slim": row.slim} for row in rows}
    folder.record(status="done", verdict=report.outcome, results=results)
    return Outcome(folder.path, rows, report)


def _records(parcel: Parcel) -> tuple[Checkpoint, Checkpoint]:
    """What the dense and the slim file say of themselves."""
    widths = np.stack([parcel.full, parcel.chosen.choice.widths])
    macs, params = parcel.counts.macs(widths).tolist(), parcel.counts.params(widths).tolist()
    shortcuts = parcel.counts.shortcut_macs(widths).tolist()
    accuracy = parcel.recovered.accuracy
    history = {**parcel.record.history, "accuracy_dense": accuracy["dense"]}
    slim_history = {
        **history,
        "accuracy_slim": accuracy["slim"],
        "accuracy": dict(accuracy),
        "finetune": dict(parcel.recovered.finetune),
        **dict(zip(COUNTS, (macs[1], params[1], shortcuts[1]), strict=True)),
    }
    dense_counts = dict(zip(COUNTS, (macs[0], params[0], shortcuts[0]), strict=True))
    return (
        replace(parcel.record, history={**history, **dense_counts}),
        replace(
            parcel.record,
            plan=parcel.chosen.choice.plan(parcel.record.model).to_plain(),
            state_dict=parcel.recovered.model.state_dict(),
            history=slim_history,
        ),
    )


def _rows(
    accuracy: Mapping[str, float],
    histories: tuple[Mapping[str, Any], Mapping[str, Any]],
    files: tuple[Shipped, Shipped],
    medians: tuple[float, float],
) -> tuple[Row, ...]:
    dense, slim = histories
    return (
        Row("accuracy", 100 * accuracy["dense"], 100 * accuracy["slim"], "%"),
        Row("MACs", dense["macs"], slim["macs"]),
        Row("MACs of rewritten shortcuts", dense["shortcut_macs"], slim["shortcut_macs"]),
        Row("params", dense["params"], slim["params"]),
        Row("file size", files[0].bytes, files[1].bytes, "bytes"),
        Row("latency", *medians, "ms"),
    )


def _medians(
    report: Report, files: tuple[Shipped, Shipped], timing: Timing
) -> tuple[float, float]:
    """Measured ms, dense and slim: the gate's, or timed now where no budget asked for it."""
    if report.latency:
        summaries = report.latency["reference"], report.latency["candidate"]
        return summaries[0]["median_ms"], summaries[1]["median_ms"]
    setting = timing.options().setting(timing.profile, files[0].input_shape)
    found = compare(files[1].path, files[0].path, setting)
    return found.reference.median_ms, found.candidate.median_ms
