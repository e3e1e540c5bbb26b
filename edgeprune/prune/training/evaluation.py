"""Accuracy, cross-entropy and logits of a network on labelled images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.held import Images
from edgeprune.prune.models.outputs import first
from edgeprune.prune.models.placement import best_device, working_copy

BATCH = 256  # images; of BatchNorm recalibration too, so a change moves its statistics


@dataclass(frozen=True)
class Evaluation:
    """What a classifier says about labelled images, by its first output.

    Attributes:
        loss: Mean cross-entropy in nats.
        logits: float32, shape (N, classes), in the order of the images, on the CPU.
        right: Whether each image's highest logit is its class, bool, shape (N,), on the CPU.
    """

    loss: float
    logits: Tensor
    right: Tensor

    @property
    def accuracy(self) -> float:
        """Top-1, 0..1."""
        return top1(self.right)


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
    right = (joined.argmax(1) == labels).cpu()
    loss = float(nn.functional.cross_entropy(joined, labels))
    return Evaluation(loss, joined, right)


def top1(right: Tensor) -> float:
    """Share of images that are answered right, 0..1, from (N,) of bool."""
    return float(right.double().mean())


def paired(dense: Tensor, slim: Tensor) -> dict[str, int]:
    """Images that both networks, one alone, or neither got right; two (N,) of bool."""
    counts = {"both": dense & slim, "dense": dense & ~slim, "slim": slim & ~dense}
    counts["neither"] = ~(dense | slim)
    return {name: int(which.sum()) for name, which in counts.items()}


def kept_answers(right: Tensor, fingerprint: str) -> dict[str, str]:
    """A network's answers (N,) of bool as plain text, with the images that they are of."""
    return {"images": fingerprint, "right": "".join("01"[one] for one in right.int().tolist())}


def known_answers(kept: Any, fingerprint: str) -> Tensor | None:
    """What :func:`kept_answers` kept, shape (N,) of bool; None of other images."""
    if not isinstance(kept, dict) or kept.get("images") != fingerprint:
        return None
    return torch.tensor([one == "1" for one in str(kept.get("right"))], dtype=torch.bool)


def _forward(model: nn.Module, pixels: Tensor) -> Tensor:
    try:
        return first(model(pixels))
    except RuntimeError as error:
        raise InputError(
            f"the model does not take images of shape {tuple(pixels.shape[1:])}: "
            f"{str(error).splitlines()[0]}"
        ) from error
