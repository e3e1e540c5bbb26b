"""What a fine-tuned model.pt records: what still holds of before, and what is new."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.training.evaluation import kept_answers, known_answers, paired, top1
from edgeprune.prune.training.loop import Trained
from edgeprune.prune.training.task import Compared


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """A network that was fine-tuned.

    Attributes:
        record: Of the model.pt that it came from.
        images: What it was trained and judged on.
        trained: The network and how it was trained.
        identity: Of the training: hashes of the files, and the images.
        before: The figure on the validation images before.
        after: The same after.
    """

    record: Checkpoint
    images: DataSet
    trained: Trained
    identity: Mapping[str, str]
    before: float
    after: float


def of_outputs(made: Finetuned, compared: Compared) -> dict[str, Any]:
    """The old history, with the new errors in place of what no longer holds."""
    old = {name: kept for name, kept in made.record.history.items() if name != "score"}
    figures = {"val_slim": made.after, "val_before_finetune": made.before, "slim": compared.slim}
    return {
        **old,
        **compared.of_slim,
        "data": made.images.name,
        "figures": {**old.get("figures", {}), **figures},
        **_trained_anew(made),
    }


def _trained_anew(made: Finetuned) -> dict[str, Any]:
    old, identity = made.record.history.get("finetune"), made.identity
    return {
        "finetune": {**made.trained.history, "task": dict(identity)},
        "finetuned_from": {"sha256": identity["model"], "finetune": old},
    }


def of_classifier(made: Finetuned, right: Tensor) -> dict[str, Any]:
    """The old history, with what is new in place of what no longer holds.

    ``right`` says which test images are answered right, (N,) of bool.
    """
    old, images = dict(made.record.history), made.images
    if old.get("data") != images.name:
        # Shares of other images are no measure beside the new ones.
        old = {name: kept for name, kept in old.items() if not name.startswith("accuracy")}
    which = "dense" if made.record.plan is None else "slim"
    test = top1(right)
    accuracy = {f"val_{which}": made.after, "val_before_finetune": made.before, which: test}
    gone = "answers", "dense_answers", "score", "figures"  # a score of one's own is not known here
    return {
        **{name: kept for name, kept in old.items() if name not in gone},
        **_answers(old.get("dense_answers"), which, right, images.fingerprint),
        "data": images.name,
        f"accuracy_{which}": test,
        "accuracy": {**old.get("accuracy", {}), **accuracy},
        **_trained_anew(made),
    }


def _answers(kept: object, which: str, right: Tensor, fingerprint: str) -> dict[str, Any]:
    """The dense network's answers to the test images, and the slim one's paired with them."""
    if which == "dense":
        return {"dense_answers": kept_answers(right, fingerprint)}
    dense = known_answers(kept, fingerprint)
    if dense is None or len(dense) != len(right):  # of other images: they cannot be paired
        return {}
    return {"dense_answers": kept, "answers": paired(dense, right)}
