"""Parameter-free (option-A) shortcuts, and the 1x1 convolution with 0/1 weights that equals one.

Reference:
    K. He et al., Deep residual learning for image recognition, CVPR 2016, section 3.3
    (option A: the shortcut is sub-sampled and padded with zero channels).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.models.copying import deep_copy


class PadShortcut(nn.Module):
    """The published option-A shortcut: every ``stride``-th pixel, zero channels on both sides.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out; the difference is padded half before, half after.
        stride: Step of the sub-sampling in both directions.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H/stride), ceil(W/stride))."""
        before = (self.out_channels - self.in_channels) // 2
        after = self.out_channels - self.in_channels - before
        thinned = x[:, :, :: self.stride, :: self.stride]
        return F.pad(thinned, (0, 0, 0, 0, before, after))


class ZeroPadShortcut(nn.Conv2d):
    """The 1x1 convolution with frozen 0/1 weights that equals a :class:`PadShortcut`.

    It is what the search traces and what is exported. ONNX Runtime keeps its blocked layout
    through it, which slices and pads break. Slimming may remove rows and columns of the weight,
    and the class stays, so that cost models can leave its 0/1 weights out of the count.

    ``torch.fx``'s default tracer walks into classes defined outside ``torch.nn``: a tracer
    for these models says ``isinstance(module, nn.Conv2d)`` is a leaf.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__(in_channels, out_channels, 1, stride=stride, bias=False)
        self.weight.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Set the weights to 1 where a padded shortcut copies a channel and to 0 elsewhere."""
        before = (self.out_channels - self.in_channels) // 2
        copied = torch.arange(self.in_channels, device=self.weight.device)
        with torch.no_grad():
            self.weight.zero_()
            self.weight[before + copied, copied] = 1.0


def rewrite_shortcuts(model: nn.Module) -> nn.Module:
    """Replace every option-A shortcut by the equal convolution; outputs stay ``torch.equal``.

    Returns:
        A copy on the same device in the same mode; ``model`` is untouched.
    """
    rewritten = deep_copy(model)
    for name, module in list(rewritten.named_modules()):
        if isinstance(module, PadShortcut):
            parent, _, child = name.rpartition(".")
            setattr(rewritten.get_submodule(parent), child, _equal_convolution(module, rewritten))
    return rewritten


def _equal_convolution(pad: PadShortcut, model: nn.Module) -> ZeroPadShortcut:
    convolution = ZeroPadShortcut(pad.in_channels, pad.out_channels, pad.stride)
    like = next(model.parameters(), None)
    if like is not None:
        convolution = convolution.to(like.device, like.dtype)
    return convolution.train(pad.training)
