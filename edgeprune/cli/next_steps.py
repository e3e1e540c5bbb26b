"""The commands that make sense after a search or a probe, by what came out of it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.report.command_line import SOMEWHERE

if TYPE_CHECKING:
    from edgeprune.run.outcome import Outcome
    from edgeprune.run.request import Request

MORE = 2  # times the epochs of the search, where they did not win the accuracy back
LEAST_EPOCHS = 10


def after(outcome: "Outcome", request: "Request", target: str) -> list[str]:
    """Commands in the order in which they are to be given.

    Where nothing but the accuracy is missed, more training may win it back; the file is exported
    again and judged anew. Else the gate is repeated, as a CI job will.
    """
    missed = [v.name for v in outcome.report.verdicts if v.outcome == "missed"]
    if missed != ["accuracy_drop"]:
        return [check(outcome, request, target)]
    better, file = outcome.folder / "model-finetuned.pt", "model-finetuned.onnx"
    trust = ["--trust-factory"] if request.model.is_factory else []
    epochs = max(LEAST_EPOCHS, MORE * request.recovery.epochs)
    train = ["edgeprune", "finetune", str(outcome.folder / "model.pt"), "--epochs", str(epochs)]
    train += ["--data", request.source, *trust]
    export = ["edgeprune", "export", str(better), "-o", str(outcome.folder / file), *trust]
    return [shlex.join(train), shlex.join(export), check(outcome, request, target, file)]


def check(outcome: "Outcome", request: "Request", target: str, file: str = "model.onnx") -> str:
    """The ``edgeprune check`` that judges a model of a run by the same budgets."""
    folder = outcome.folder
    words = ["edgeprune", "check", str(folder / file), "--target", target]
    words += ["--baseline", str(folder / "dense.onnx")]
    profile = request.target.budget.relative
    for name, limit in request.budget:
        if limit != getattr(profile, name):
            value = "none" if limit is None else f"{limit:g}"
            words += ["--budget", f"relative.{name}={value}"]
    known = outcome.stand_in
    elsewhere = known is not None and known.kind == "carried"
    if request.latency_ms is not None:
        device = known.machine if elsewhere and known else outcome.report.machine["fingerprint"]
        words += ["--budget", f"p50_ms={request.latency_ms:g}"]
        words += ["--budget", f"fingerprint={device}"]
    if elsewhere:
        words += ["--device", SOMEWHERE]
    elif request.device != "local://":
        words += ["--device", request.device]
    return shlex.join(words)


def after_probe(table: Path, target: str, model: str, device: str) -> list[str]:
    """The search on that device; of another one also what keeps its table for searches without."""
    words = ["edgeprune", "search", "--target", target, "--model", model]
    if device == "local://":
        return [shlex.join(words)]
    carry = ["edgeprune", "targets", "add-table", str(table), "--target", target]
    return [shlex.join([*words, "--device", device]), shlex.join(carry)]
