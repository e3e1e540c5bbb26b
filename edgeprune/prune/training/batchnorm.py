"""BatchNorm recalibration: running statistics estimated afresh on training images."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.placement import best_device, device_of, finished, working_copy
from edgeprune.prune.training.evaluation import BATCH

RECALIBRATION_IMAGES = 2048


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
    The new ones are plain averages over shuffled batches, the same for the same images. The
    variance is the mean of the batches' own and lacks that between batches, about 1/256 of it.

    Args:
        model: Any network; one without BatchNorm is only copied.
        images: Training images.
        count: Number of images to use, chosen so that each class keeps its share.
        augment: Crop and mirror them, as the images were in training; plain images cost the
            public ResNet-20 four points, and spare ours half a one.
        device: Where to run; CUDA where there is one.

    Returns:
        A copy in evaluation mode, on the device of ``model``.

    Reference:
        B. Li et al., EagleEye, ECCV 2020 (adaptive BatchNorm).
    """
    device = device or best_device()
    chosen = images if len(images) <= count else images.subset(stratified(images.labels, count, 0))
    fresh = working_copy(model, device).eval()
    # Folders list class by class: unshuffled, a batch would hold one class only and the
    # variance between classes would be missing from every estimate.
    order = torch.Generator().manual_seed(0)
    batches = chosen.to(device).batches(BATCH, generator=order, augment=augment)
    estimate(fresh, (pixels for pixels, _ in batches))
    return finished(fresh, device_of(model))


def estimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set BatchNorm's running statistics to their plain averages over batches, in place.

    The network is left in evaluation mode; batches (N, 3, H, W) lie on its device.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # means a plain average
        norm.train()
    with torch.inference_mode(False), torch.no_grad():
        for pixels in batches:
            network(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
