"""Fine-tunes the network of a model.pt by the recipe of a search, on one or several GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from edgeprune.deploy.artifact.seal import file_sha256
from edgeprune.errors import InputError
from edgeprune.files import disk_errors, refuse_existing
from edgeprune.progress import Progress, renamed, silent
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Normalisation
from edgeprune.prune.models import checkpoint, zoo
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.distributed import Ranks, together
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import Setting, Trained, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from edgeprune.prune.training.task import Figure, Task, TaskName
from edgeprune.prune.training.tasks import task_of
from edgeprune.run import finetune_record

TEACHER = "dense.pt"


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest:
    """What a user asked for.

    Attributes:
        checkpoint: A model.pt, slim or dense.
        recipe: How it is trained; its weight of the teacher may be 0.
        source: Data set name or folder.
        teacher: A model.pt or weights of the dense network; ``dense.pt`` beside the model.pt
            without one.
        out: File, or folder for a ``model.pt``; ``NAME-finetuned.pt`` beside it without one.
        overwrite: Replace ``out``, and begin anew where a state was left.
        resume: Go on from the state that was left.
        recalibrate: Estimate BatchNorm's statistics afresh first.
        trust_factory: Run the ``module:factory`` that the model.pt names.
        every: Steps between two states; every pass over the images without one.
    """

    checkpoint: Path
    recipe: Recipe
    source: str
    teacher: Path | None = None
    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    recalibrate: bool = False
    trust_factory: bool = False
    every: int | None = None

    @property
    def file(self) -> Path:
        """The file that is written."""
        if self.out is None:
            return self.checkpoint.with_name(f"{self.checkpoint.stem}-finetuned.pt")
        return self.out / "model.pt" if self.out.is_dir() else self.out

    @property
    def state(self) -> Path:
        """Where the training is kept while it runs."""
        return self.file.with_name(f"{self.file.name}.state")


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a fine-tuning came to; the accuracy on test images is in the file's history alone.

    Attributes:
        path: The new model.pt.
        before: The task's figure on the validation images before: top-1, 0..1, of a classifier.
        after: The same after.
        figure: What that is called.
        teacher: File of the network that was distilled from, if any.
    """

    path: Path
    before: float
    after: float
    teacher: Path | None
    figure: Figure

    def to_text(self) -> str:
        """One line."""
        teacher = f"distilled from {self.teacher}" if self.teacher else "without a teacher"
        return (
            f"{self.path}: {self._said(self.before)} the validation images before, "
            f"{self.figure.scale * self.after:.2f} % after; {teacher}"
        )

    def _said(self, value: float) -> str:
        shown = f"{self.figure.scale * value:.2f} %"
        return (
            f"{shown} of" if self.figure.name == "accuracy" else f"{self.figure.name} {shown} on"
        )


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A network, its images and its teacher, ready to begin."""

    model: nn.Module
    record: Checkpoint
    images: DataSet
    before: float
    teacher: nn.Module | None
    teacher_path: Path | None
    identity: Mapping[str, str]
    task: Task


def finetune(request: FinetuneRequest, progress: Progress = silent) -> FinetuneResult | None:
    """Fine-tune the network of a model.pt and write a new one.

    Under torchrun every process calls this; the first writes, and the others return None.

    Raises:
        InputError: A file, the images or the recipe do not fit, or a state is in the way.
        MachineError: The disk refuses, or processes cannot reach each other.
    """
    with together() as ranks:
        progress = progress if ranks.leads else silent
        with ranks.in_turn():
            prepared = _prepared(request, ranks, progress)
        setting = Setting(
            teacher=prepared.teacher,
            progress=renamed(progress, "fine-tuning"),
            ranks=ranks,
            keep=Keep(request.state, prepared.identity, request.every),
            task=prepared.task,
        )
        trained = train_in(prepared.model, prepared.images.train, request.recipe, setting)
    return _written(request, prepared, trained) if ranks.leads else None


def known_images(path: Path) -> str:
    """The name of the data set that a model.pt was made with.

    Raises:
        InputError: It was made with a folder, of which only the last name is known.
    """
    known = str(checkpoint.read(path).history.get("data"))
    if known not in datasets.NAMES:
        raise InputError(f"name the images that {path} learns from with --data")
    return known


def _prepared(request: FinetuneRequest, ranks: Ranks, progress: Progress) -> _Prepared:
    if ranks.leads:
        _make_way(request)
    model, record = load_slim(request.checkpoint, trust_factory=request.trust_factory)
    images = _images(request, record, progress)
    path = _teacher_path(request)
    teacher = _teacher(path, record, trust=request.trust_factory) if path else None
    task = task_of(_task_name(record))
    if teacher is None and task.name == "outputs":
        raise InputError(
            f"{request.checkpoint} was searched by its outputs, and learns from the dense network "
            "alone: name it with --teacher, and leave --kd-weight out"
        )
    before = 0.0
    if ranks.leads:  # the others start from its weights
        never_recovered = record.plan is not None and "finetune" not in record.history
        if request.recalibrate or never_recovered:
            model = recalibrate(model, images.train)
        before = task.measured(model, teacher or model, images.val)
    identity = {
        "model": file_sha256(request.checkpoint),
        "teacher": file_sha256(path) if path else "none",
        "images": images.fingerprint,
        "recalibration": str(request.recalibrate),
    }
    return _Prepared(
        model=model,
        record=record,
        images=images,
        before=before,
        teacher=teacher,
        teacher_path=path,
        identity=identity,
        task=task,
    )


def _task_name(record: Checkpoint) -> TaskName:
    return "outputs" if record.history.get("task") == "outputs" else "classification"


def _make_way(request: FinetuneRequest) -> None:
    """See that the result can be written and no state is lost, before anything is computed."""
    if not request.file.parent.is_dir():
        raise InputError(f"--out {request.file}: there is no folder {request.file.parent}")
    refuse_existing(request.file, overwrite=request.overwrite)
    if request.resume or not request.state.exists():
        return
    if not request.overwrite:
        raise InputError(
            f"{request.state} holds an interrupted training; pass --resume to go on with it, or "
            "--overwrite to start over"
        )
    with disk_errors(request.state):
        request.state.unlink()


def _images(request: FinetuneRequest, record: Checkpoint, progress: Progress) -> DataSet:
    _, height, width = record.input_shape
    images = datasets.load(
        request.source,
        size=(height, width),
        normalisation=Normalisation(tuple(record.mean), tuple(record.std)),
        labelled=_task_name(record) == "classification",
        progress=progress,
    )
    if images.classes != tuple(record.classes):
        raise InputError(
            f"{request.checkpoint} has {_classes(record.classes)}, --data {request.source} has "
            f"{_classes(images.classes)}; give the images that it was made with"
        )
    return images


def _classes(names: tuple[str, ...]) -> str:
    return f"{len(names)} classes ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _teacher_path(request: FinetuneRequest) -> Path | None:
    """The network to distil from: as given, or the dense one that a search left beside it."""
    if request.recipe.alpha == 0:
        return None
    beside = request.checkpoint.with_name(TEACHER)
    if request.teacher is None and beside.exists() and not beside.samefile(request.checkpoint):
        return beside
    return request.teacher


def _teacher(path: Path, record: Checkpoint, *, trust: bool) -> nn.Module:
    """A network of a model.pt, or the dense one of ``record`` with weights of any wrapping."""
    if not checkpoint.is_record(path):
        kwargs = dict(record.kwargs)
        classes = int(kwargs.pop("num_classes", len(record.classes)))
        return zoo.load_dense(ModelSpec(record.model, classes, kwargs), path).model
    model, theirs = load_slim(path, trust_factory=trust)
    for name in ("classes", "input_shape", "mean", "std"):
        ours, its = (tuple(getattr(known, name)) for known in (record, theirs))
        if ours != its:
            raise InputError(
                f"the teacher {path} has other {name} than the model; give one that was trained "
                "on the same images"
            )
    return model


def _written(request: FinetuneRequest, prepared: _Prepared, trained: Trained) -> FinetuneResult:
    """Judge on the validation images, and once on the test images; write; let the state go."""
    task, dense = prepared.task, prepared.teacher or trained.model
    val = task.measured(trained.model, dense, prepared.images.val)
    made = finetune_record.Finetuned(
        record=prepared.record,
        images=prepared.images,
        trained=trained,
        identity=prepared.identity,
        before=prepared.before,
        after=val,
    )
    if task.name == "outputs":
        reference = task.reference(dense, prepared.images)
        compared = task.compared(reference, trained.model, prepared.images)
        history = finetune_record.of_outputs(made, compared)
    else:
        right = evaluate(trained.model, prepared.images.test).right
        history = finetune_record.of_classifier(made, right)
    record = replace(prepared.record, state_dict=trained.model.state_dict(), history=history)
    checkpoint.write(request.file, record, overwrite=request.overwrite)
    with disk_errors(request.state):
        request.state.unlink(missing_ok=True)
    return FinetuneResult(
        path=request.file,
        before=prepared.before,
        after=val,
        teacher=prepared.teacher_path,
        figure=task.figure,
    )
