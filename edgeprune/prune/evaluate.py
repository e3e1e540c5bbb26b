"""How good is a network as it stands, and what are its BatchNorm statistics on real images?"""

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images import Images, stratified

RECALIBRATION_IMAGES = 2048
_BATCH = 256


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

    Returns:
        Accuracy, loss and logits.

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
        for pixels, _ in images.to(device).batches(_BATCH):
            logits.append(_forward(runnable, pixels).float().cpu())
    joined = torch.cat(logits)
    labels = images.labels
    if joined.ndim != 2 or joined.shape[1] <= int(labels.max()):
        raise InputError(
            f"the model's output has shape {tuple(joined.shape[1:])}, the images have "
            f"{int(labels.max()) + 1} classes; give the model as many outputs"
        )
    accuracy = float((joined.argmax(1) == labels).double().mean())
    loss = float(nn.functional.cross_entropy(joined, labels))
    return Evaluation(accuracy, loss, joined)


def recalibrate(
    model: nn.Module,
    images: Images,
    *,
    count: int = RECALIBRATION_IMAGES,
    augment: bool = True,
    device: torch.device | None = None,
) -> nn.Module:
    """Estimate BatchNorm's running statistics afresh; labels and weights play no part.

    Slimming shifts what arrives at every BatchNorm, so the trained statistics no longer hold.
    The new ones are plain averages over shuffled batches, the same for the same images.

    Args:
        model: Any network; one without BatchNorm is only copied.
        images: Training images.
        count: How many of them, chosen so that each class keeps its share.
        augment: Crop and mirror them, as the images were on which the statistics were learnt;
            plain images cost the public ResNet-20 four points, and spare ours half a one.
        device: Where to run; CUDA where there is one.

    Returns:
        A copy in evaluation mode, on the device of ``model``.

    Reference:
        B. Li et al., EagleEye, ECCV 2020 (adaptive BatchNorm).
    """
    device = device or best_device()
    chosen = images if len(images) <= count else images.subset(stratified(images.labels, count, 0))
    fresh = working_copy(model, device).eval()
    norms = [m for m in fresh.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.inference_mode(False), torch.no_grad():
        # Folders list class by class: unshuffled, a batch would hold one class only and the
        # variance between classes would be missing from every estimate.
        order = torch.Generator().manual_seed(0)
        served = chosen.to(device).batches(_BATCH, generator=order, augment=augment)
        for pixels, _ in served if norms else ():
            fresh(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return finished(fresh, device_of(model))


def best_device() -> torch.device:
    """The first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter; the CPU for a network without any."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def working_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy on ``device`` in the memory layout its convolutions run fastest in."""
    return in_layout(copy.deepcopy(model).to(device), torch.channels_last)


def in_layout(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The network itself, its weights laid out anew."""
    return model.to(memory_format=layout)


def finished(copied: nn.Module, device: torch.device) -> nn.Module:
    """A working copy as callers get it: on ``device``, plain layout, evaluation mode."""
    return in_layout(copied.to(device), torch.contiguous_format).eval()


def half_precision(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 for matrix products on CUDA; the CPU computes in float32."""
    return torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda")


def _forward(model: nn.Module, pixels: Tensor) -> Tensor:
    try:
        logits: Tensor = model(pixels)
    except RuntimeError as error:
        raise InputError(
            f"the model does not take images of shape {tuple(pixels.shape[1:])}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return logits
