"""A segmentation task that tests make themselves: bright discs and squares on noise, two classes.

Class 0 is the ground, 1 a disc, 2 a square.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

CLASSES = 3


def shapes(count: int, seed: int, side: int = 64) -> TensorDataset:
    """Images (count, 3, side, side) in [0, 1] and masks (count, side, side), int64."""
    drawn = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images = 0.5 * torch.rand(count, 3, side, side, generator=drawn)
    masks = torch.zeros(count, side, side, dtype=torch.int64)
    for image, mask in zip(images, masks, strict=True):
        for kind in (1, 2):
            top, left = torch.randint(side // 5, side - side // 5, (2,), generator=drawn).tolist()
            radius = int(torch.randint(side // 8, side // 5, (1,), generator=drawn))
            far = torch.stack([(rows - top).abs(), (columns - left).abs()])
            inside = far.square().sum(0) <= radius**2 if kind == 1 else far.amax(0) <= radius
            image[:, inside] += 0.4 * torch.rand(3, 1, generator=drawn) + 0.1
            mask[inside] = kind
    return TensorDataset(images.clamp(0, 1), masks)


def fcn() -> nn.Module:
    """torchvision's FCN on the first half of a narrow-made ResNet, random weights, ``{"out"}``."""
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import BasicBlock, ResNet
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    torch.manual_seed(0)
    backbone = IntermediateLayerGetter(ResNet(BasicBlock, [1, 1, 1, 1]), {"layer2": "out"})
    return FCN(backbone, FCNHead(128, CLASSES))


def trained(model: nn.Module, data: TensorDataset, steps: int, batch: int = 16) -> nn.Module:
    """A network that was trained on the masks for so many steps."""
    images, masks = data.tensors
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    drawn = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch,), generator=drawn)
        loss = F.cross_entropy(model(images[chosen])["out"], masks[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return model.eval()


def mean_iou(model: nn.Module, images: Tensor, masks: Tensor) -> float:
    """Mean over the classes of intersection over union of all images, 0..1."""
    found = torch.cat([model(part)["out"].argmax(1) for part in images.split(64)])
    shares = [
        ((found == kind) & (masks == kind)).sum() / ((found == kind) | (masks == kind)).sum()
        for kind in range(CLASSES)
    ]
    return float(torch.stack(shares).mean())
