"""What a sealed file says about itself, put together from its network and its checkpoint."""

from typing import Literal

import onnx
import onnxruntime
import torch

from edgeprune import __version__
from edgeprune.deploy.artifact.parity_samples import ParitySamples
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.deploy.artifact.seal import file_sha256
from edgeprune.errors import InputError
from edgeprune.export.exported import Exported
from edgeprune.export.exporter import parity_samples
from edgeprune.export.file_options import FileOptions
from edgeprune.export.onnx_network import OnnxNetwork
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.target import TargetProfile

_ORDERS: dict[int, Literal["RGB", "grey", "RGBA"]] = {
    3: "RGB",
    1: "grey",
    4: "RGBA",
}  # as our images are read


def provenance(
    network: Exported, record: Checkpoint, target: TargetProfile, options: FileOptions
) -> Provenance:
    """What the sealed file says about itself."""
    history, parent, int8 = record.history, network.parent, network.int8
    pixels = checkpoint.samples(record).numpy()
    count = len(pixels) if options.parity_images is None else options.parity_images
    if count > len(pixels):
        raise InputError(f"--parity-images {count}: the checkpoint carries {len(pixels)} images")
    return Provenance(
        version=__version__,
        model=record.model,
        plan=record.plan,
        target=target.name,
        target_sha256=target.sha256,
        precision="int8" if int8 else "fp32",
        quantisation=int8.record(network.twin_sha256) if int8 else None,
        input_shape=record.input_shape,
        mean=record.mean,
        std=record.std,
        channel_order=_ORDERS.get(record.input_shape[0]),
        resize=history.get("resize"),
        licence=options.licence,
        classes=record.classes,
        dense_widths=history.get("dense_widths") if record.plan else None,
        macs=history["macs"],
        params=history["params"],
        accuracy_dense=history.get("accuracy_dense"),
        accuracy_slim=history.get("accuracy_slim"),
        answers=history.get("answers"),
        outputs=history.get("outputs"),
        score=history.get("score"),
        dense_sha256=history.get("dense_sha256"),
        checkpoint_sha256=file_sha256(parent) if parent else None,
        versions={
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        parity=_samples(network, record, target, count),
    )


def _samples(
    network: Exported, record: Checkpoint, target: TargetProfile, count: int
) -> ParitySamples | None:
    """The first ``count`` images with the answers of what is shipped; None without any."""
    if not count:
        return None
    answering = network.model
    if network.int8:
        answering = OnnxNetwork(network.shipped, target.runtime)
    pixels = checkpoint.samples(record).numpy()[:count]
    size = record.input_shape[1:]  # height and width
    return parity_samples(answering, pixels, size, record.mean, record.std)
