"""The rewritten option-A shortcut gives the very same numbers."""

import pytest
import torch
from torch import nn

from edgeprune.prune.models.shortcuts import PadShortcut, ZeroPadShortcut, rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build


@pytest.mark.parametrize(("channels", "stride"), [((16, 32), 2), ((3, 8), 2), ((4, 4), 1)])
def test_convolution_equals_slice_and_pad(channels: tuple[int, int], stride: int) -> None:
    images = torch.randn(2, channels[0], 9, 8)
    pad = PadShortcut(*channels, stride)
    convolution = ZeroPadShortcut(*channels, stride)
    assert torch.equal(convolution(images), pad(images))
    assert convolution.weight.sum() == channels[0]
    assert not convolution.weight.requires_grad


def test_rewritten_network_is_equal_and_the_original_untouched() -> None:
    dense = build(ModelSpec("resnet20")).eval()
    rewritten = rewrite_shortcuts(dense)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(rewritten(images), dense(images))
    assert not rewritten.training
    assert any(isinstance(module, PadShortcut) for module in dense.modules())
    assert not any(isinstance(module, PadShortcut) for module in rewritten.modules())
    assert {
        name for name, parameter in rewritten.named_parameters() if not parameter.requires_grad
    } == {"layer2.0.shortcut.weight", "layer3.0.shortcut.weight"}


def test_rewriting_twice_changes_nothing_more() -> None:
    once = rewrite_shortcuts(build(ModelSpec("resnet20")))
    twice = rewrite_shortcuts(once)
    assert all(
        torch.equal(a, b)
        for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True)
    )


def test_double_precision_is_kept() -> None:
    rewritten = rewrite_shortcuts(nn.Sequential(nn.Conv2d(3, 4, 1).double(), PadShortcut(4, 8)))
    assert rewritten(torch.randn(1, 3, 4, 4, dtype=torch.float64)).dtype == torch.float64
