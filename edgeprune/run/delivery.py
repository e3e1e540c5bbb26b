"""Delivers a pruned model: writes its files, has them judged and sums up the result."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from edgeprune.arrays import Floats
from edgeprune.deploy.doctor.describe import widths_of
from edgeprune.deploy.gate.check import Options, check
from edgeprune.deploy.gate.integers import twin_of
from edgeprune.deploy.gate.verdicts import Report
from edgeprune.deploy.timing.protocol import compare
from edgeprune.deploy.timing.setting import Setting
from edgeprune.export.exported import Exported
from edgeprune.export.int8 import Int8Model
from edgeprune.export.onnx_network import OnnxNetwork
from edgeprune.export.sealed_file import Shipped, load_and_ship, ship
from edgeprune.files import write_whole
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.training.task import Compared, Figure
from edgeprune.report.records import PREDICTED
from edgeprune.report.task_figure import shown_figure
from edgeprune.run.context import RunContext
from edgeprune.run.folder import RunFolder
from edgeprune.run.outcome import COUNTS, RESULT, Outcome, PrunedModel, Row
from edgeprune.target import Budget

_HARM = 0.005  # less is within what another seed of the fine-tuning moves
SEEN = (
    "the dense model came with its weights and may have seen the validation images, so what is "
    "lost on them is overstated; the test images were read once, at the end"
)


def deliver(context: RunContext, model: PrunedModel, budget: Budget, folder: RunFolder) -> Outcome:
    """Write dense.onnx, model.pt and model.onnx, then judge as ``edgeprune check`` will.

    Where the target runs int8, model.onnx is, dense-int8.onnx is the control, and
    model-fp32.onnx the same network in fp32. The test images are read here: for this model once,
    for the dense one once a run. Earlier files of these names in ``folder`` are replaced.
    """
    recovered, target = model.recovered, context.request.target
    deployed = recovered.model
    if recovered.int8:
        deployed = OnnxNetwork(recovered.int8.quantised.proto, target.runtime)
    compared = context.tested(deployed)
    figures = {"dense": compared.dense, "slim": compared.slim, **recovered.figures}
    dense, slim = _records(context, model, figures, compared)
    dense_file = ship(context.dense, dense, target, folder.path / "dense.onnx", overwrite=True)
    slim = replace(slim, history={**slim.history, "dense_sha256": dense_file.sha256})
    checkpoint.write(folder.path / "model.pt", slim, overwrite=True)
    checkpoint.write(folder.path / "dense.pt", dense, overwrite=True)  # finetune's teacher
    model_file = folder.path / "model.onnx"
    in_float = twin_of(model_file) if recovered.int8 else model_file
    slim_file = load_and_ship(
        folder.path / "model.pt", in_float, target, context.export, context.passed_module
    )
    if recovered.int8:
        network, proto = recovered.model, recovered.int8.quantised.float_proto
        made = Exported(network, proto, folder.path / "model.pt", recovered.int8, slim_file.sha256)
        slim_file = ship(made, slim, target, model_file, overwrite=True)
    folder.event("exported", parity=asdict(slim_file.parity))
    chosen = model.chosen.choice
    options = Options(
        baseline=dense_file.path, device=context.device, untimed=_untimed(context, chosen.ratios)
    )
    report = check(slim_file.path, target.with_budget(budget), options)
    write_whole(folder.path / "check.json", report.to_json().encode())
    files = dense_file, slim_file
    if context.stand_in.kind == "carried":
        latency = _predicted(context, chosen)
    else:
        latency = _measured(report, files, context.timing.setting)
    figure = context.task.figure
    scaled = figure.scale * compared.dense, figure.scale * compared.slim
    counted = _rows((dense.history, slim.history), files)
    rows: tuple[Row, ...] = (Row(figure.name, *scaled, figure.unit), *counted, latency)
    if context.dense_int8:
        control = _control(context, context.dense_int8, dense, folder)
        rows = _beside(context, rows, control, dense_file)
    notes = (
        *context.stand_in.lines,
        *(recovered.int8.verified if recovered.int8 else ()),
        *compared.told,
        *_notes(context, report, figures),
        *_walked(folder.read().get("walk", []), figure),
    )
    results = {row.name: {key: getattr(row, key) for key in RESULT} for row in rows}
    known = context.stand_in
    folder.record(
        status="done",
        verdict=report.outcome,
        results=results,
        notes=list(notes),
        stand_in=known.to_plain(),
    )
    return Outcome(folder.path, rows, report, notes, known)


def _control(
    context: RunContext, int8: Int8Model, record: Checkpoint, folder: RunFolder
) -> tuple[Shipped, float]:
    """Write dense-int8.onnx: what int8 alone gains, and its accuracy on the test images."""
    target = context.request.target
    network = OnnxNetwork(int8.quantised.proto, target.runtime)
    compared = context.tested(network)
    history = {**record.history, **compared.of_slim}
    dense = context.dense
    made = Exported(dense.model, dense.proto, None, int8)
    path = folder.path / "dense-int8.onnx"
    shipped = ship(made, replace(record, history=history), target, path, overwrite=True)
    return shipped, compared.slim


def _beside(
    context: RunContext,
    rows: Sequence[Row],
    control: tuple[Shipped, float],
    dense: Shipped,
) -> tuple[Row, ...]:
    """The rows with the dense int8 model's figures; its latency by its own paired ratio."""
    shipped, accuracy = control
    found = compare(shipped.path, dense.path, context.timing.setting)
    values = {"accuracy": 100 * accuracy, "file size": float(shipped.bytes)}
    return tuple(
        replace(
            row,
            dense_int8=found.ratio * row.dense if row.name == "latency" else values.get(row.name),
        )
        for row in rows
    )


def _notes(context: RunContext, report: Report, figures: Mapping[str, float]) -> tuple[str, ...]:
    """What must be known beside the verdicts."""
    origin = context.origin
    notes = [f"weights: {origin.recognised}"] if origin.recognised else []
    splits = context.images.splits
    notes += [line for line in (splits.told, splits.lacking) if line] if splits else []
    notes += [SEEN] if origin.seen_validation and context.images.has_targets else []
    notes += context.left_whole
    notes += context.time.told()
    task, figure = context.task, context.task.figure
    lost = next((v for v in report.verdicts if v.name == figure.budget), None)
    if lost and lost.outcome == "missed" and lost.value is not None:
        notes.append(
            f"the best that strategy {context.request.strategy} came to within the other budgets "
            f"{figure.lost.format(lost.value)}, {lost.limit:g} was allowed; more --epochs may win "
            "it back, or loosen another budget"
        )
    before, after = figures["val_before_finetune"], figures["val_slim"]
    dense = figures["val_dense"]
    if task.lost(dense, after) > task.lost(dense, before) + _HARM * figure.scale:
        shown = (shown_figure(figure.name, figure.scale * value) for value in (before, after))
        notes.append(
            f"fine-tuning worsened the {figure.name} on the validation images from "
            f"{' to '.join(shown)}; more --epochs or a lower --lr"
        )
    return tuple(notes)


def _walked(steps: Sequence[Mapping[str, Any]], figure: Figure) -> tuple[str, ...]:
    """The steps to the lowest latency that kept the budget of the task, where there were any."""
    if not steps:
        return ()
    words = []
    for step in steps:
        result = f"{step['lost_points']:.2f}" if "lost_points" in step else "not reached"
        too_much = " (too much)" if "lost_points" in step and not step["kept"] else ""
        words.append(f"{step['latency']:g}x {result}{too_much}")
    what = "points lost" if figure.budget == "accuracy_drop" else figure.budget.replace("_", " ")
    return (f"{what} on validation images on the way: {', '.join(words)}",)


def _records(
    context: RunContext,
    model: PrunedModel,
    figures: Mapping[str, float],
    compared: Compared,
) -> tuple[Checkpoint, Checkpoint]:
    """What the dense and the slim file say of themselves."""
    record, chosen = context.record, model.chosen.choice
    widths = np.stack([context.problem.space.full, chosen.widths])
    counts = [getattr(context.counts, name)(widths).tolist() for name in COUNTS]
    dense_counts, slim_counts = (
        dict(zip(COUNTS, column, strict=True)) for column in zip(*counts, strict=True)
    )
    history = {**record.history, **compared.of_dense}
    slim_history = {
        **history,
        **compared.of_slim,
        "accuracy" if context.task.figure.name == "accuracy" else "figures": dict(figures),
        "finetune": dict(model.recovered.finetune),
        "dense_widths": {
            layer.name: layer.outputs for layer in widths_of(context.dense.proto, {})
        },
        **slim_counts,
    }
    return (
        replace(record, history={**history, **dense_counts}),
        replace(
            record,
            plan=context.plan(chosen).to_plain(),
            state_dict=model.recovered.model.state_dict(),
            history=slim_history,
        ),
    )


def _rows(
    histories: tuple[Mapping[str, Any], Mapping[str, Any]], files: tuple[Shipped, Shipped]
) -> tuple[Row, ...]:
    """What is counted."""
    dense, slim = histories
    return (
        Row("MACs", dense["macs"], slim["macs"]),
        Row("MACs of rewritten shortcuts", dense["shortcut_macs"], slim["shortcut_macs"]),
        Row("params", dense["params"], slim["params"]),
        Row("file size", files[0].bytes, files[1].bytes, "bytes"),
    )


def _measured(report: Report, files: tuple[Shipped, Shipped], setting: Setting) -> Row:
    """Measured ms, dense and slim: the gate's, or timed now where no budget asked for it."""
    if "reference" in report.latency:
        summaries = report.latency["reference"], report.latency["candidate"]
        return Row("latency", summaries[0]["median_ms"], summaries[1]["median_ms"], "ms")
    found = compare(files[1].path, files[0].path, setting)
    return Row("latency", found.reference.median_ms, found.candidate.median_ms, "ms")


def _predicted(context: RunContext, chosen: Choice) -> Row:
    """Ms on a device that is not here, by the table that was carried from it."""
    widths = np.stack([context.problem.space.full, chosen.widths])  # (2, G)
    dense, slim = context.latency.predict(widths).tolist()
    return Row(PREDICTED, dense, slim, "ms")


def _untimed(context: RunContext, ratios: Floats) -> str:
    """Why the gate times nothing, and what settles it; empty where the device can be timed."""
    known = context.stand_in
    if known.kind != "carried":
        return ""
    return (
        f"not timed: the device is not here; the table carried from {known.device} predicts "
        f"{ratios[0]:.3f}x, {known.error}; `edgeprune check` with --device settles it"
    )
