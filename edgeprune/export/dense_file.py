"""Export of a dense checkpoint, as people save them, to a sealed ONNX file."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeprune.errors import InputError
from edgeprune.export.file_options import PLAIN, FileOptions
from edgeprune.export.number_format import ship_as_asked
from edgeprune.export.sealed_file import Shipped, exported, sample_pixels
from edgeprune.files import refuse_existing
from edgeprune.prune.images import datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Normalisation
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, load_dense
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.space.macs import CostModel
from edgeprune.target import TargetProfile


@dataclass(frozen=True, kw_only=True)
class DenseRequest:
    """A dense network to export.

    Attributes:
        weights: Its checkpoint.
        spec: The network by name; its number of classes counts where there is no ``source``.
        source: Images for the parity check, which also name the classes; None compares on the
            embedded digits.
        size: Height and width of the input in pixels.
        normalisation: Mean and standard deviation that it was trained with.
        target: Profile that it is exported for.
    """

    weights: Path
    spec: ModelSpec
    source: str | None
    size: tuple[int, int]
    normalisation: Normalisation
    target: TargetProfile


def export_dense(
    request: DenseRequest,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    options: FileOptions = PLAIN,
) -> Shipped:
    """Export a dense checkpoint.

    Args:
        request: The network, its images and its target.
        out: The ONNX file; the checkpoint's name with ``.onnx`` by default.
        overwrite: Replace ``out``.
        options: What else is asked of the file.

    Raises:
        InputError: the weights do not fit the network, or ``out`` exists.
        PromiseError: the file does not give torch's answers.
    """
    out = out or request.weights.with_suffix(".onnx")
    refuse_existing(out, overwrite=overwrite)
    images = datasets.load(
        request.source or "digits", size=request.size, normalisation=request.normalisation
    )
    classes = images.classes if request.source else _numbered(request.spec.num_classes or 0)
    spec = ModelSpec(request.spec.name, len(classes), request.spec.kwargs)
    model = rewrite_shortcuts(load_dense(spec, request.weights).model).eval()
    record = Checkpoint(
        model=spec.name,
        kwargs={**spec.kwargs, "num_classes": len(classes)},
        plan=None,
        state_dict=model.state_dict(),
        input_shape=images.input_shape,
        mean=images.normalisation.mean,
        std=images.normalisation.std,
        classes=classes,
        history=_history(model, images, request.source),
        images=sample_pixels(images),
    )
    network = exported(model, record, request.weights, options)
    if options.int8 and options.int8.source is None:  # those of the parity check, by default
        options = replace(options, int8=replace(options.int8, source=request.source))
    return ship_as_asked(
        network, record, request.target, out, overwrite=overwrite, options=options
    )


def _numbered(count: int) -> tuple[str, ...]:
    if count < 1:
        raise InputError(f"--classes {count}: a classifier has at least one")
    return tuple(map(str, range(count)))


def _history(model: nn.Module, images: DataSet, source: str | None) -> dict[str, object]:
    """Counts of the network; how images are resized, where they are those that it was made for."""
    traced = proven(model, torch.zeros(1, *images.input_shape))
    counts = CostModel(traced)
    full = np.array([[group.width for group in traced.groups]], dtype=np.int64)
    found: dict[str, object] = {
        "macs": int(counts.macs(full)[0]),
        "params": int(counts.params(full)[0]),
    }
    if source is not None:
        found["resize"] = datasets.resize_rule(source, images.input_shape[1:])
    return found
