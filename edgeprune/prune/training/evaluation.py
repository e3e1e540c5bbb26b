"""Accuracy, cross-entropy and logits of a network on labelled images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.held import Images
from edgeprune.prune.models.placement import best_device, working_copy

BATCH = 256  # images; of BatchNorm recalibration too, so a change moves its statistics


@dataclass(frozen=True)
class Evaluation:
    """What a network says about labelled images.

    Attributes:
        accuracy: Share of images whose highest logit is their class, 0..1.
        loss: Mean cross-entropy in nats.
        logits: float32, shape (N, classes), in the order of the images, on the CPU.
    """

    accuracy: float
    loss: float
    logits: Tensor


def evaluate(
    model: nn.Module, images: Images, *, device: torch.device | None = None
) -> Evaluation:
    """Run a network over all images once, without augmentation, in float32.

    Args:
        model: Classifier of images (N, 3, H, W); left as it was.
        images: At least one.
        device: Where to run; CUDA where there is one.

    Raises:
        InputError: There are no images, or the network does not take images of this shape or
            has fewer outputs than there are classes.
    """
    if not len(images):
        raise InputError("there are no images to evaluate on")
    device = device or best_device()
    runnable = working_copy(model, device).eval()
    logits = []
    with torch.inference_mode():
        for pixels, _ in images.to(device).batches(BATCH):
            logits.append(_forward(runnable, pixels).float().cpu())
    joined = torch.cat(logits)  # (N, classes)
    labels = images.labels
    if joined.ndim != 2 or joined.shape[1] <= int(labels.max()):
        raise InputError(
            f"the model's output has shape {tuple(joined.shape[1:])}, the images have "
            f"{int(labels.max()) + 1} classes; give the model as many outputs"
        )
    accuracy = float((joined.argmax(1) == labels).double().mean())
    loss = float(nn.functional.cross_entropy(joined, labels))
    return Evaluation(accuracy, loss, joined)


def _forward(model: nn.Module, pixels: Tensor) -> Tensor:
    try:
        logits: Tensor = model(pixels)
    except RuntimeError as error:
        raise InputError(
            f"the model does not take images of shape {tuple(pixels.shape[1:])}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return logits
