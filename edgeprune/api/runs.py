"""Searches in Python: ``edgeprune.search`` and the Run that it gives; needs the extra search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

from edgeprune.api.networks import globs
from edgeprune.progress import Progress, silent
from edgeprune.prune.images.names import IN_MEMORY
from edgeprune.prune.models.names import INSTANCE
from edgeprune.requirements import needs_search

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    from edgeprune.deploy.gate.verdicts import Report
    from edgeprune.run.outcome import Row

Colours = tuple[float, float, float]
Data = Union[str, PathLike[str], "Sequence[Dataset[Any] | DataLoader[Any]]"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a search came to.

    Attributes:
        model: The slim network: float32, evaluation mode, on the CPU. Where the target runs int8,
            the network that model.onnx was quantised from.
        report: The verdict on every budget, as of ``edgeprune.check``.
        folder: The run folder: model.onnx, dense.onnx, model.pt, report.html and the records.
        rows: Accuracy (%), or the output error (%) or score of the task, MACs, params, bytes and
            measured latency (ms), dense against slim; of a device that is not here "predicted
            latency" in its place.
        notes: What must be known beside it.
    """

    model: "nn.Module"
    report: "Report"
    folder: Path
    rows: tuple["Row", ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """What ``edgeprune search`` would have ended with: 0 met, 1 missed; see exit codes."""
        return self.report.exit_code


def search(
    model: "str | nn.Module" = "resnet20",
    data: Data | None = None,
    *,
    target: str = "mobile-cpu",
    weights: str | PathLike[str] | None = None,
    new_head: bool = False,
    task: Literal["classification", "outputs"] = "classification",
    score: "Callable[..., float] | None" = None,
    model_arg: Mapping[str, str | int | float | bool] | None = None,
    mean: Colours | None = None,
    std: Colours | None = None,
    flip: bool = True,
    image_size: int | tuple[int, int] | None = None,
    max_latency_ratio: float | None = None,
    max_macs_ratio: float | None = None,
    max_params_ratio: float | None = None,
    max_latency_ms: float | None = None,
    max_accuracy_drop: float | None = None,
    max_output_error: float | None = None,
    max_score_drop: float | None = None,
    strategy: str | None = None,
    evaluations: int | None = None,
    finalists: int | None = None,
    wavelet: str = "haar",
    genome: Literal["widths", "bits"] = "widths",
    keep: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
    time_budget: float | None = None,
    seed: int = 0,
    compensate: Literal["auto", "refit", "fold", "none"] = "auto",
    epochs: int = 10,
    baseline_epochs: int | None = None,
    lr: float | None = None,
    batch: int | None = None,
    kd_temperature: float | None = None,
    kd_weight: float | None = None,
    label_smoothing: float | None = None,
    ema: float | None = None,
    device: str | None = None,
    precision: Literal["fp32", "int8"] | None = None,
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Run:
    """Search, slim, fine-tune, export and measure, as ``edgeprune search`` does.

    Options that are not listed here are those of the command, with its defaults. One model a
    call: ``--family`` and several targets are the command's.

    Args:
        model: A name as of ``--model``, or a module, which is copied and left as it is: its
            weights are the dense weights. No name rebuilds a module, and model.pt does not hold
            its code: ``edgeprune.load(path, into=module)`` and
            ``edgeprune.export_onnx(path, into=module)`` take the same module again.
        data: A name or folder as of ``--data``; or (train, test) or (train, val, test) of
            map-style torch Datasets or DataLoaders that give (image, label), the label an index.
            Images are tensors (3, side, side) of one size: uint8, or float in [0, 1], or float
            normalised by ``mean`` and ``std``; they are read once and held as uint8, 4 GiB a
            part at most. Without ``val`` the last tenth of each class of ``train`` is held out.
            Not supported: images of several shapes, random transforms, a collate_fn of one's own,
            IterableDatasets.
        target: Name or path of a target profile.
        weights: Checkpoint of the dense model that is named.
        new_head: Take ``weights`` without a classifier of this size.
        task: ``classification`` by labels, or ``outputs``: the network is trained and judged by
            how far each of its outputs is from the dense network's, without labels. ``data`` then
            is a folder of pictures, or parts that give images, or pairs whose second part only
            ``score`` may look at.
        score: Judges networks in place of the task, in the search and at the end: ``score(model,
            images)`` or ``score(model, images, targets)``, a number, the higher the better. The
            model is in evaluation mode, images (N, C, H, W) are normalised and as many as 1 GiB
            holds, targets what the data gives. What trains stays the task's.
        model_arg: Arguments for the constructor of the model that is named.
        mean: Mean of each channel in [0, 1] that the network's input is normalised by. ImageNet's
            by default; images that are passed as float in [0, 1] reach the network as they are.
        std: The standard deviations, likewise.
        flip: Whether a mirrored image still shows its class, for images that are passed.
        image_size: Side of the input in pixels, or height and width; that of the images where they
            are passed.
        max_latency_ratio: Highest latency, as a ratio to the dense model's, above 0 and at most
            1; infinity drops the target's limit, here and below.
        max_macs_ratio: Highest MACs, likewise.
        max_params_ratio: Most parameters, likewise.
        max_latency_ms: Highest median latency on ``device`` in ms, in place of a ratio.
        max_accuracy_drop: Most percentage points of accuracy that may be lost, 0 to 100.
        max_output_error: Highest relative error of an output in percent, with ``task="outputs"``.
        max_score_drop: Most that ``score`` may fall by.
        strategy: How channels are chosen: joint (default), gwcs, smoea, random, uniform, ...
        evaluations: Number of networks to score.
        finalists: Number of networks to distil before one is chosen.
        wavelet: Wavelet of the wavelet criterion.
        genome: What the strategy gwcs evolves.
        keep: Globs of names of modules that stay whole, as of ``edgeprune.slim``.
        only: Globs of the only layers that are pruned, likewise.
        time_budget: Longest time of the whole run in seconds.
        seed: Seed of every random choice.
        compensate: How layers that stay take over what was removed.
        epochs: Passes of the fine-tuning over the images; 0 trains nothing.
        baseline_epochs: Passes of the dense model's training where a name has no ``weights``.
        lr: Highest learning rate of the fine-tuning by SGD; AdamW takes a fiftieth of it.
        batch: Images per batch.
        kd_temperature: Temperature of the distillation.
        kd_weight: Weight of the dense model's answers in the loss, 0 to 1.
        label_smoothing: Share of each label that is spread over all classes.
        ema: Decay per step of an average of the weights.
        device: Where to measure: ``local://``, ``ssh://user@host[:port]`` or ``exec:COMMAND``.
        precision: Number format in place of the target's.
        out: Run folder; ``runs/MODEL-TARGET-NNN`` by default.
        overwrite: Replace an earlier run in ``out``.
        resume: Go on with the unfinished run in ``out``; the same model and data are passed.
        progress: Called as each step goes on, with its name, what is done, and how much there is.

    Returns:
        The run. A missed budget raises nothing: see ``exit_code`` and ``report``.

    Raises:
        InputError: what was asked for does not fit together; no run folder is left behind.
        PromiseError: a budget that nothing on the device's grid can meet, or parity failed.
        MachineError: a package is missing, or the disk, the memory or the device refuses.
    """
    needs_search("edgeprune.search")
    from edgeprune.prune.training.own_score import named
    from edgeprune.run import passed
    from edgeprune.run.search_options import SearchOptions

    source, splits = (str(data), None) if isinstance(data, str | PathLike) else (IN_MEMORY, data)
    options = SearchOptions(
        target=target,
        model=model if isinstance(model, str) else INSTANCE,
        weights=None if weights is None else Path(weights),
        new_head=new_head,
        task=task,
        score=named(score) if score else "",
        data=None if data is None else source,
        mean=mean,
        std=std,
        image_size=(image_size, image_size) if isinstance(image_size, int) else image_size,
        model_arg=dict(model_arg or {}),
        max_latency_ratio=max_latency_ratio,
        max_macs_ratio=max_macs_ratio,
        max_params_ratio=max_params_ratio,
        max_latency_ms=max_latency_ms,
        max_accuracy_drop=max_accuracy_drop,
        max_output_error=max_output_error,
        max_score_drop=max_score_drop,
        strategy=strategy,
        evaluations=evaluations,
        finalists=finalists,
        wavelet=wavelet,
        genome=genome,
        keep=globs(keep),
        only=globs(only),
        time_budget=time_budget,
        seed=seed,
        compensate=compensate,
        epochs=epochs,
        baseline_epochs=baseline_epochs,
        lr=lr,
        batch=batch,
        kd_temperature=kd_temperature,
        kd_weight=kd_weight,
        label_smoothing=label_smoothing,
        ema=ema,
        device=device,
        precision=precision,
        out=None if out is None else Path(out),
        overwrite=overwrite,
        resume=resume,
    )
    outcome, slim = passed.search(
        options,
        None if isinstance(model, str) else model,
        splits,
        score=score,
        flip=flip,
        progress=progress,
    )
    return Run(
        model=slim,
        report=outcome.report,
        folder=outcome.folder,
        rows=outcome.rows,
        notes=outcome.notes,
    )
