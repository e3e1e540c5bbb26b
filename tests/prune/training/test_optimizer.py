"""Which networks SGD trains and which AdamW, and at which rate."""

import pytest
import torch
from torch import nn

from edgeprune.prune.training.loop import train
from edgeprune.prune.training.optimizer import optimizer_for
from edgeprune.prune.training.recipe import Recipe
from tests.images import grey_noise


def _network(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8), nn.Identity(), nn.InstanceNorm2d(8)])
def test_networks_of_batchnorm_or_no_norm_are_trained_by_sgd(norm: nn.Module) -> None:
    found = optimizer_for(_network(norm), Recipe(lr=0.1, momentum=0.5, weight_decay=0.01))
    assert isinstance(found, torch.optim.SGD)
    given = {name: found.defaults[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    assert given == {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.01, "nesterov": True}


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 8), nn.LayerNorm([8, 6, 6])])
def test_networks_of_other_norms_are_trained_by_adamw(norm: nn.Module) -> None:
    model = _network(norm)
    model[0].requires_grad_(False)
    found = optimizer_for(model, Recipe(lr=0.1))
    assert isinstance(found, torch.optim.AdamW)
    assert found.defaults["lr"] == pytest.approx(0.002)
    learning = [p for group in found.param_groups for p in group["params"]]
    assert [id(p) for p in learning] == [id(p) for p in model[1].parameters()]


def test_the_history_names_the_optimiser() -> None:
    model = nn.Sequential(_network(nn.GroupNorm(2, 8)), nn.Linear(8, 2))
    history = train(model, grey_noise(32), Recipe(steps=1, batch=8)).history
    assert history["optimizer"] == "AdamW"
