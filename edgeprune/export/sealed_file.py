"""Export of a model.pt to a sealed ONNX file: parity on real images, provenance, hash."""

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from edgeprune import __version__
from edgeprune.deploy.artifact import seal
from edgeprune.deploy.artifact.parity import ParityReport
from edgeprune.deploy.artifact.parity_samples import network_input
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.deploy.artifact.seal import file_sha256
from edgeprune.errors import InputError
from edgeprune.export.exporter import parity, parity_samples, to_onnx
from edgeprune.files import refuse_existing
from edgeprune.prune.images.datasets import DataSet, sample
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.target import TargetProfile, load_target
from edgeprune.text import first_problem


@dataclass(frozen=True)
class Exported:
    """A network, and the ONNX model that it became."""

    model: nn.Module
    proto: onnx.ModelProto


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """An exported file.

    Attributes:
        path: The ONNX file.
        sha256: Hash of the file.
        bytes: Size of the file.
        input_shape: Shape of its input, (1, C, H, W).
        parity: Comparison of its answers with torch's.
        target: Profile it was exported for.
    """

    path: Path
    sha256: str
    bytes: int
    input_shape: tuple[int, ...]
    parity: ParityReport
    target: TargetProfile


def export_checkpoint(
    path: Path,
    out: Path | None = None,
    target: str | None = None,
    *,
    overwrite: bool = False,
    trust_factory: bool = False,
) -> Shipped:
    """Export a model.pt that edgeprune wrote.

    Args:
        path: The checkpoint.
        out: The ONNX file; ``model.onnx`` beside the checkpoint by default.
        target: Profile by name or path; the one the checkpoint was searched for by default.
        overwrite: Replace ``out``.
        trust_factory: Run the ``module:factory`` that the checkpoint names.

    Raises:
        InputError: the checkpoint, the target or ``out`` is not as it should be.
        PromiseError: the file does not give torch's answers.
    """
    out = out or path.with_name("model.onnx")
    refuse_existing(out, overwrite=overwrite)
    profile = load_target(target) if target else _recorded_target(path)
    return load_and_ship(path, out, profile, overwrite=overwrite, trust=trust_factory)


def _recorded_target(path: Path) -> TargetProfile:
    try:
        return TargetProfile.model_validate(checkpoint.read(path).history.get("target"))
    except ValidationError:
        raise InputError(f"{path} records no target of this version; pass --target") from None


def load_and_ship(
    path: Path, out: Path, target: TargetProfile, *, overwrite: bool, trust: bool
) -> Shipped:
    """Rebuild the network of a model.pt and ship it; see :func:`ship`."""
    model, record = load_slim(path, trust_factory=trust)
    refuse_existing(out, overwrite=overwrite)
    network = Exported(model, to_onnx(model, record.input_shape))
    return ship(network, record, target, out, parent=path, overwrite=overwrite)


def ship(
    network: Exported,
    record: Checkpoint,
    target: TargetProfile,
    out: Path,
    *,
    parent: Path | None = None,
    overwrite: bool = False,
) -> Shipped:
    """Compare with torch, seal and write; a file that differs is not left behind.

    Args:
        network: The network, dense or slim, as exported.
        record: Checkpoint of the network; ``history`` carries costs and accuracies.
        target: Profile it is exported for.
        out: Path of the ONNX file.
        parent: Checkpoint file that the network comes from.
        overwrite: Replace ``out``.
    """
    refuse_existing(out, overwrite=overwrite)
    report = parity(
        network.model,
        network.proto.SerializeToString(),
        parity_inputs(record),
        atol=target.parity.atol,
        rtol=target.parity.rtol,
    )
    try:
        sealed = provenance(network.model, record, target, parent)
    except ValidationError as error:
        where, words = first_problem(error)
        raise InputError(f"the checkpoint's history: {where}: {words}; write it again") from None
    sha256 = seal.write(out, network.proto, sealed, overwrite=overwrite)
    return Shipped(
        path=out,
        sha256=sha256,
        bytes=out.stat().st_size,
        input_shape=(1, *record.input_shape),
        parity=report,
        target=target,
    )


def parity_inputs(record: Checkpoint) -> Tensor:
    """The checkpoint's real images as the network takes them, (N, C, H, W)."""
    pixels = checkpoint.samples(record).numpy()
    size = record.input_shape[1:]
    return torch.from_numpy(network_input(pixels, size, record.mean, record.std))


def sample_pixels(images: DataSet, count: int = 4) -> Tensor:
    """A few held-out images as they came, uint8, shape (count, 3, H, W)."""
    pixels, _ = next(iter(sample(images.val, count).batches(count)))
    mean = torch.tensor(images.normalisation.mean).view(1, 3, 1, 1)
    std = torch.tensor(images.normalisation.std).view(1, 3, 1, 1)
    return ((pixels.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def provenance(
    model: nn.Module, record: Checkpoint, target: TargetProfile, parent: Path | None
) -> Provenance:
    """What the sealed file says about itself."""
    history = record.history
    return Provenance(
        version=__version__,
        model=record.model,
        plan=record.plan,
        target=target.name,
        target_sha256=target.sha256,
        input_shape=record.input_shape,
        mean=record.mean,
        std=record.std,
        classes=record.classes,
        dense_widths=history.get("dense_widths") if record.plan else None,
        macs=history["macs"],
        params=history["params"],
        accuracy_dense=history.get("accuracy_dense"),
        accuracy_slim=history.get("accuracy_slim"),
        answers=history.get("answers"),
        dense_sha256=history.get("dense_sha256"),
        checkpoint_sha256=file_sha256(parent) if parent else None,
        versions={
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        parity=parity_samples(
            model,
            checkpoint.samples(record).numpy(),
            record.input_shape[1:],
            record.mean,
            record.std,
        ),
    )
