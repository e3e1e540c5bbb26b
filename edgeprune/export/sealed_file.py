"""Export of a model.pt to a sealed ONNX file: parity on real images, provenance, hash."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from edgeprune import __version__
from edgeprune.deploy.artifact import seal
from edgeprune.deploy.artifact.parity import ParityReport, check
from edgeprune.deploy.artifact.parity_samples import network_input
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.errors import InputError, PromiseError
from edgeprune.export.exported import Exported
from edgeprune.export.exporter import parity, to_onnx
from edgeprune.export.file_options import PLAIN, FileOptions
from edgeprune.export.ort_format import ort_format
from edgeprune.export.sealed_record import provenance
from edgeprune.files import refuse_existing, write_whole
from edgeprune.prune.images.datasets import DataSet, sample
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.target import TargetProfile
from edgeprune.text import first_problem


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """An exported file.

    Attributes:
        path: The ONNX file.
        sha256: Hash of the file.
        bytes: Size of the file.
        input_shape: Shape of its input, (1, C, H, W).
        parity: Comparison of its answers with torch's.
        images_inside: Real images that it carries.
        ort: The file in ORT format.
        target: Profile it was exported for.
        said: What else is worth a line.
    """

    path: Path
    sha256: str
    bytes: int
    input_shape: tuple[int, ...]
    parity: ParityReport
    images_inside: int
    ort: Path | None
    target: TargetProfile
    said: tuple[str, ...] = ()


def _check_pin(target: TargetProfile, shape: tuple[int, ...], dynamic_batch: bool) -> None:
    """Refuse a target that pins another input than the file takes; ``shape`` is (C, H, W)."""
    pinned = target.input.shape
    if pinned and (pinned[1:] != shape or (pinned[0] != 1 and not dynamic_batch)):
        raise InputError(
            f"target {target.name} pins input.shape = {list(pinned)}, the network takes "
            f"{[1, *shape]}: drop the pin, or train at that size"
        )


def load_and_ship(
    path: Path,
    out: Path,
    target: TargetProfile,
    export: Callable[[nn.Module], onnx.ModelProto],
    into: nn.Module | None = None,
) -> Shipped:
    """Rebuild the network of a model.pt that this run wrote, and ship it; see :func:`ship`.

    Args:
        path: The model.pt; a factory that it names was named by the user.
        out: The ONNX file; an earlier one is replaced.
        target: Profile it is exported for.
        export: From the network in torch to its ONNX model.
        into: The dense network, where no name builds it.
    """
    model, record = load_slim(path, trust_factory=True, into=into)
    return ship(Exported(model, export(model), path), record, target, out, overwrite=True)


def exported(
    model: nn.Module, record: Checkpoint, parent: Path, options: FileOptions = PLAIN
) -> Exported:
    """Export the network of a checkpoint file, ``parent``."""
    shape, batch = record.input_shape, options.dynamic_batch
    proto = to_onnx(model, shape, dynamic_batch=batch, opset=options.opset)
    return Exported(model, proto, parent)


def ship(
    network: Exported,
    record: Checkpoint,
    target: TargetProfile,
    out: Path,
    *,
    overwrite: bool = False,
    options: FileOptions = PLAIN,
) -> Shipped:
    """Compare with torch, seal and write; a file that differs is not left behind.

    Args:
        network: The network, dense or slim, as exported.
        record: Checkpoint of the network; ``history`` carries costs and accuracies.
        target: Profile it is exported for.
        out: Path of the ONNX file.
        overwrite: Replace ``out``.
        options: What else is asked of the file.

    Raises:
        InputError: ``out`` exists, the target pins another input, or the checkpoint's history
            or images are not as asked.
        PromiseError: the file, or the one in ORT format, does not give torch's answers.
    """
    _check_pin(target, record.input_shape, options.dynamic_batch)
    refuse_existing(out, overwrite=overwrite)
    beside = out.with_suffix(".ort") if options.ort else None
    if beside:
        refuse_existing(beside, overwrite=overwrite)
    compared = _parity(network, record, target)
    try:
        sealed = provenance(network, record, target, options)
    except ValidationError as error:
        where, words = first_problem(error)
        raise InputError(f"the checkpoint's history: {where}: {words}; write it again") from None
    proto = onnx.ModelProto()
    proto.CopyFrom(network.shipped)
    proto.producer_name, proto.producer_version = "edgeprune", __version__
    proto.model_version = options.model_version
    content = b""
    if beside:  # before anything is written: it may fail
        content = ort_format(seal.seal(proto, sealed).SerializeToString(deterministic=True))
        _refuse_other_answers(content, network, record, target)
    sha256 = seal.write(out, proto, sealed, overwrite=overwrite)
    if beside:
        write_whole(beside, content, overwrite=overwrite)
    return Shipped(
        path=out,
        sha256=sha256,
        bytes=out.stat().st_size,
        input_shape=(1, *record.input_shape),
        parity=compared,
        images_inside=len(sealed.parity.logits) if sealed.parity else 0,
        ort=beside,
        target=target,
    )


def _parity(network: Exported, record: Checkpoint, target: TargetProfile) -> ParityReport:
    """The comparison with torch, on at least as many images as a batch of three needs."""
    images, content = _three_at_least(record), network.proto.SerializeToString()
    atol, rtol = target.parity.atol, target.parity.rtol
    return parity(network.model, content, images, atol=atol, rtol=rtol)


def _refuse_other_answers(
    content: bytes, network: Exported, record: Checkpoint, target: TargetProfile
) -> None:
    """Compare the file in ORT format with the ONNX model that it was made of."""
    images = _three_at_least(record).numpy()
    session = open_session(network.shipped.SerializeToString(), target.runtime)
    expected = session.answers(image[None] for image in images)
    report = check(content, images, expected, target.parity, target.runtime)
    if not report.passed:
        raise PromiseError(
            f"parity failed: the file in ORT format is up to {report.max_abs:.2g} off the ONNX "
            "file; try another onnxruntime, or leave --ort out"
        )


def _three_at_least(record: Checkpoint) -> Tensor:
    images = parity_inputs(record)
    return images.repeat(-(-3 // len(images)), 1, 1, 1) if len(images) < 3 else images


def parity_inputs(record: Checkpoint) -> Tensor:
    """The checkpoint's real images as the network takes them, (N, C, H, W)."""
    pixels = checkpoint.samples(record).numpy()
    size = record.input_shape[1:]
    return torch.from_numpy(network_input(pixels, size, record.mean, record.std))


def sample_pixels(images: DataSet, count: int = 4) -> Tensor:
    """A few held-out images as they came, uint8, shape (count, C, H, W)."""
    pixels, _ = next(iter(sample(images.val, count).batches(count)))
    mean = torch.tensor(images.normalisation.mean).view(1, -1, 1, 1)
    std = torch.tensor(images.normalisation.std).view(1, -1, 1, 1)
    return ((pixels.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
