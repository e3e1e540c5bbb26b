"""A recovered network becomes files, a verdict and a summary."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgeprune import checkpoint
from edgeprune.checkpoint import Checkpoint
from edgeprune.deploy import gate
from edgeprune.deploy.timing import compare
from edgeprune.deploy.verdicts import Report, Verdict
from edgeprune.files import write_whole
from edgeprune.finalist import Candidate, Timing
from edgeprune.run_folder import RunFolder
from edgeprune.scene import Scene
from edgeprune.ship import Shipped, load_and_ship, ship
from edgeprune.target import TargetProfile

COUNTS = ("macs", "params", "shortcut_macs")
RESULT = ("dense", "slim", "unit")
_HARM = 0.005  # less is within what another seed of the fine-tuning moves
SEEN = (
    "the dense model came as a checkpoint and may have seen the validation images, so what is "
    "lost on them is overstated; the test images were read once, at the end"
)


@dataclass(frozen=True)
class Recovered:
    """The slim network after fine-tuning.

    Attributes:
        model: In evaluation mode, on the CPU.
        accuracy: Top-1 on the validation images, 0..1: ``val_dense``, ``val_before_finetune``
            and ``val_slim``.
        finetune: How it was trained, plain JSON.
    """

    model: nn.Module
    accuracy: Mapping[str, float]
    finetune: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """A network that was chosen, measured and fine-tuned; no test image was looked at."""

    chosen: Candidate
    recovered: Recovered

    @property
    def lost(self) -> float:
        """Percentage points of accuracy lost on the validation images."""
        accuracy = self.recovered.accuracy
        return round(100 * (accuracy["val_dense"] - accuracy["val_slim"]), 6)


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
        notes: What must be known beside it.
    """

    folder: Path
    rows: tuple[Row, ...]
    report: Report
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Of the verdict; the table is in docs/exit-codes.md."""
        return self.report.exit_code


def deliver(scene: Scene, made: Made, profile: TargetProfile, folder: RunFolder) -> Outcome:
    """Write dense.onnx, model.pt and model.onnx, then judge as ``edgeprune check`` will.

    The test images are read here: for this model once, for the dense one once a run.

    Args:
        scene: What the model was made from.
        made: The model.
        profile: The target with the budgets it is judged by.
        folder: Where everything goes; earlier files of these names are replaced.
    """
    slim_accuracy = scene.test_accuracy(made.recovered.model)
    accuracy = {"dense": scene.dense_accuracy, "slim": slim_accuracy, **made.recovered.accuracy}
    target, timing = scene.request.target, Timing(profile, scene.field.timing.device)
    dense, slim = _records(scene, made, accuracy)
    dense_file = ship(scene.dense, dense, target, folder.path / "dense.onnx", overwrite=True)
    slim = replace(slim, history={**slim.history, "dense_sha256": dense_file.sha256})
    checkpoint.write(folder.path / "model.pt", slim, overwrite=True)
    checkpoint.write(folder.path / "dense.pt", dense, overwrite=True)  # finetune's teacher
    slim_file = load_and_ship(
        folder.path / "model.pt", folder.path / "model.onnx", target, overwrite=True, trust=True
    )
    folder.event("exported", parity=asdict(slim_file.parity))
    report = gate.check(slim_file.path, profile, timing.options(dense_file.path))
    write_whole(folder.path / "check.json", report.to_json().encode())
    files = dense_file, slim_file
    medians = _medians(report, files, timing)
    rows = _rows(accuracy, (dense.history, slim.history), files, medians)
    notes = _notes(scene, report, accuracy) + _walked(folder.read().get("walk", []))
    results = {row.name: {key: getattr(row, key) for key in RESULT} for row in rows}
    folder.record(status="done", verdict=report.outcome, results=results, notes=list(notes))
    return Outcome(folder.path, rows, report, notes)


def recall(folder: RunFolder) -> Outcome | None:
    """What a finished run came to, from its files; None where it is not finished."""
    known = folder.read()
    if known.get("status") != "done" or "results" not in known:
        return None
    body = json.loads((folder.path / "check.json").read_text("utf-8"))
    verdicts = tuple(Verdict(**verdict) for verdict in body["verdicts"])
    parts = {part.name: body[part.name] for part in fields(Report)}
    report = Report(**parts | {"verdicts": verdicts, "notes": tuple(body["notes"])})
    rows = tuple(Row(name, **values) for name, values in known["results"].items())
    return Outcome(folder.path, rows, report, tuple(known["notes"]))


def _notes(scene: Scene, report: Report, accuracy: Mapping[str, float]) -> tuple[str, ...]:
    """What must be known beside the verdicts."""
    notes = [SEEN] if scene.origin.seen_validation else []
    lost = next((v for v in report.verdicts if v.name == "accuracy_drop"), None)
    if lost and lost.outcome == "missed":
        notes.append(
            f"the best that strategy {scene.request.strategy} came to within the other budgets "
            f"loses {lost.value:.2f} points, {lost.limit:g} were allowed; more --epochs may win "
            "them back, or loosen another budget"
        )
    before, after = accuracy["val_before_finetune"], accuracy["val_slim"]
    if after < before - _HARM:
        notes.append(
            f"fine-tuning lowered the validation accuracy from {before:.2%} to {after:.2%}; more "
            "--epochs or a lower --lr"
        )
    return tuple(notes)


def _walked(steps: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The steps to the lowest latency that kept the accuracy, where there were any."""
    told = [
        f"{step['latency']:g}x {step['lost_points']:.2f}{'' if step['kept'] else ' (too much)'}"
        if "lost_points" in step
        else f"{step['latency']:g}x not reached"
        for step in steps
    ]
    return (f"points lost on validation images on the way: {', '.join(told)}",) if told else ()


def _records(
    scene: Scene, made: Made, accuracy: Mapping[str, float]
) -> tuple[Checkpoint, Checkpoint]:
    """What the dense and the slim file say of themselves."""
    record, chosen = scene.record, made.chosen.choice
    widths = np.stack([scene.field.space.full, chosen.widths])
    counts = scene.counts
    macs, params = counts.macs(widths).tolist(), counts.params(widths).tolist()
    shortcuts = counts.shortcut_macs(widths).tolist()
    history = {**record.history, "accuracy_dense": accuracy["dense"]}
    slim_history = {
        **history,
        "accuracy_slim": accuracy["slim"],
        "accuracy": dict(accuracy),
        "finetune": dict(made.recovered.finetune),
        **dict(zip(COUNTS, (macs[1], params[1], shortcuts[1]), strict=True)),
    }
    dense_counts = dict(zip(COUNTS, (macs[0], params[0], shortcuts[0]), strict=True))
    return (
        replace(record, history={**history, **dense_counts}),
        replace(
            record,
            plan=chosen.plan(record.model).to_plain(),
            state_dict=made.recovered.model.state_dict(),
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
    if "reference" in report.latency:
        summaries = report.latency["reference"], report.latency["candidate"]
        return summaries[0]["median_ms"], summaries[1]["median_ms"]
    setting = timing.options().setting(timing.profile, files[0].input_shape)
    found = compare(files[1].path, files[0].path, setting)
    return found.reference.median_ms, found.candidate.median_ms
