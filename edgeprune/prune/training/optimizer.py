"""The optimiser of a training: SGD, or AdamW for networks of LayerNorm or GroupNorm."""

import torch
from torch import nn

from edgeprune.prune.training.recipe import Recipe

ADAMW_RATE = 0.02
"""Learning rate of AdamW as a share of SGD's: 0.001 for 0.05; recovery.md has the figures."""
ADAMW_DECAY = 0.05
"""Weight decay of AdamW, which is decoupled from the gradient: ConvNeXt's."""


def trained_by_adamw(model: nn.Module) -> bool:
    """Whether any layer is a LayerNorm or a GroupNorm.

    BatchNorm bounds what a large step does to the layer before it; at the rates of SGD that suit
    it, networks with these lose tens of points or answer at random.
    """
    return any(isinstance(module, (nn.LayerNorm, nn.GroupNorm)) for module in model.modules())


def optimizer_for(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of all parameters that learn, at the highest learning rate of the recipe."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if trained_by_adamw(model):
        return torch.optim.AdamW(learning, lr=ADAMW_RATE * recipe.lr, weight_decay=ADAMW_DECAY)
    return torch.optim.SGD(
        learning,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
