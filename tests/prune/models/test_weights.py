"""Weights that do not fit are named, and where it can be known, what they would fit."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.cifar import CifarResNet
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.weights import classes_of, load_into

CANDIDATES = {
    "resnet20": lambda classes: CifarResNet(20, classes),
    "resnet32": lambda classes: CifarResNet(32, classes),
}


def _state(depth: int, classes: int = 10) -> dict[str, Tensor]:
    return dict(CifarResNet(depth, classes).state_dict())


def test_old_checkpoints_without_batch_counters_fit() -> None:
    state = _state(20)
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        del state[name]
    model = CifarResNet(20)
    load_into(model, state, "old.th", CANDIDATES)
    assert torch.equal(
        model.get_parameter("layer3.2.conv2.weight"), state["layer3.2.conv2.weight"]
    )


def test_padded_weights_fit_the_rewritten_network() -> None:
    rewritten = rewrite_shortcuts(CifarResNet(20))
    load_into(rewritten, _state(20), "x.th", CANDIDATES)
    assert rewritten.get_parameter("layer2.0.shortcut.weight").sum() == 16


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (_state(32), ["it has layer1.3.conv1.weight", "and 69 more", "--model resnet32"]),
        (_state(20, 100), ["linear.weight has shape (100, 64)", "it has 100 classes"]),
        ({"a.weight": torch.ones(3, 3)}, ["it lacks conv1.weight", "it has a.weight"]),
        ({"a": torch.ones(3)}, ["no linear layer"]),
    ],
)
def test_the_first_differences_are_named(state: dict[str, Tensor], words: list[str]) -> None:
    model = CifarResNet(20)
    before = model.get_parameter("conv1.weight").detach().clone()
    with pytest.raises(InputError) as caught:
        load_into(model, state, "some.pt", CANDIDATES)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in ["some.pt does not fit", *words])
    assert torch.equal(model.get_parameter("conv1.weight"), before)


def test_classes_are_those_of_the_last_linear_layer() -> None:
    assert classes_of(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 7)).state_dict()) == 7
    assert classes_of({"conv.weight": torch.ones(2, 2, 3, 3)}) is None
