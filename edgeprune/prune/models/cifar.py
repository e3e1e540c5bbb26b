"""ResNets and VGGs for small images (CIFAR), as in the pruning literature.

Parameter names are those of the public checkpoints, so that these load without renaming.

References:
    K. He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2.
    K. Simonyan, A. Zisserman, Very deep convolutional networks, ICLR 2015; BatchNorm and
    the 512-wide head are the usual adaptation to 32x32 images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import PadShortcut, ZeroPadShortcut

RESNET_DEPTHS = (20, 32, 44, 56, 110)
VGG_CONVOLUTIONS: dict[int, tuple[int, ...]] = {
    11: (1, 1, 2, 2, 2),
    14: (2, 2, 3, 3, 3),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
VGG_SINGLE_LINEAR = 14
VGG_WIDTHS = (64, 128, 256, 512, 512)
SHORTCUTS = ("A", "A-conv", "B")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to a shortcut.

    The first convolution has the stride; where the shape changes the shortcut is "A", "A-conv" or
    "B", as :class:`CifarResNet` says.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels, 1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet of depth 6n+2 for small images: stages of 16, 32 and 64 channels.

    Args:
        depth: 20, 32, 44, 56 or 110.
        num_classes: Width of the last linear layer.
        shortcut: "A" zero-padded as published, "A-conv" the equal frozen convolution,
            "B" 1x1 convolution with BatchNorm.

    Raises:
        InputError: ``shortcut`` is none of these.
    """

    def __init__(self, depth: int, num_classes: int = 10, shortcut: str = "A") -> None:
        super().__init__()
        if shortcut not in SHORTCUTS:
            raise InputError(f"shortcut must be one of {', '.join(SHORTCUTS)}, not {shortcut!r}")
        blocks = (depth - 2) // 6
        self.conv1 = _conv3x3(3, 16, 1)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, shortcut)
        self.layer2 = _stage(16, 32, blocks, shortcut)
        self.layer3 = _stage(32, 64, blocks, shortcut)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(torch.flatten(self.pool(x), 1))
        return logits


class CifarVGG(nn.Module):
    """VGG for 32x32 images: five pooled blocks end at 1x1, then one or three linear layers.

    Args:
        depth: 11, 16 and 19 end in linear layers 512-512-classes; 14 has 13 convolutions
            and one linear layer.
        num_classes: Width of the last linear layer.
        batch_norm: BatchNorm after every convolution.
    """

    def __init__(self, depth: int, num_classes: int = 10, batch_norm: bool = True) -> None:
        super().__init__()
        self.features = _vgg_features(VGG_CONVOLUTIONS[depth], batch_norm)
        self.classifier: nn.Module = (
            nn.Linear(512, num_classes)
            if depth == VGG_SINGLE_LINEAR
            else nn.Sequential(
                nn.Dropout(),
                nn.Linear(512, 512),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(512, 512),
                nn.ReLU(),
                nn.Linear(512, num_classes),
            )
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


def _conv3x3(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int, kind: str) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == "A":
        return PadShortcut(in_channels, out_channels, stride)
    if kind == "A-conv":
        return ZeroPadShortcut(in_channels, out_channels, stride)
    convolution = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def _stage(in_channels: int, out_channels: int, blocks: int, shortcut: str) -> nn.Sequential:
    stride = 1 if in_channels == out_channels else 2
    first = BasicBlock(in_channels, out_channels, stride, shortcut)
    rest = (BasicBlock(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _vgg_features(convolutions: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for count, width in zip(convolutions, VGG_WIDTHS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and not isinstance(module, ZeroPadShortcut):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
