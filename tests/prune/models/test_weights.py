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
        (
            _state(20, 100),
            ["linear.weight has shape (100, 64)", "100 classes", "--new-head keeps the rest"],
        ),
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


def test_a_head_of_another_size_is_left_out_only_on_demand() -> None:
    model, state = CifarResNet(20), _state(20, 100)
    head = model.get_parameter("linear.weight").detach().clone()
    assert load_into(model, state, "x.pt", {}, new_head=True) == ("linear",)
    assert torch.equal(model.get_parameter("linear.weight"), head)
    assert torch.equal(model.get_parameter("conv1.weight"), state["conv1.weight"])
    assert load_into(model, _state(20), "x.pt", {}, new_head=True) == ()


def test_a_network_without_a_head_is_taken_on_demand() -> None:
    state = {name: t for name, t in _state(20).items() if not name.startswith("linear")}
    with pytest.raises(
        InputError, match=r"lacks linear\.weight.*--new-head .* starts linear afresh"
    ):
        load_into(CifarResNet(20), state, "x.pt", {})
    assert load_into(CifarResNet(20), state, "x.pt", {}, new_head=True) == ("linear",)


@pytest.mark.parametrize("depth", [20, 32])
def test_more_than_a_head_is_never_left_out(depth: int) -> None:
    """Of another depth, or the right one but for a layer inside."""
    state = _state(depth)
    state["layer1.0.conv1.weight"] = torch.ones(8, 16, 3, 3)
    with pytest.raises(InputError, match="does not fit"):
        load_into(CifarResNet(20), state, "x.pt", {}, new_head=True)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("conv1.weight", torch.ones(16, 3, 3, 3, dtype=torch.int8), "int8, a quantised weight"),
        ("linear.bias", torch.ones(10).to(torch.float8_e5m2), "float8_e5m2, a quantised weight"),
        ("linear.bias", torch.full((10,), torch.nan), "NaN or infinite"),
        ("bn1.running_var", -torch.ones(16), "a negative variance"),
    ],
)
def test_values_that_are_no_weights_are_refused(name: str, value: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_into(CifarResNet(20), {**_state(20), name: value}, "x.pt", {})


@pytest.mark.parametrize("kind", ["half", "bfloat16", "sparse"])
def test_other_floating_types_and_sparse_weights_are_converted(kind: str) -> None:
    model, state = CifarResNet(20), _state(20)
    change = {"half": Tensor.half, "bfloat16": Tensor.bfloat16, "sparse": Tensor.to_sparse}[kind]
    load_into(model, {**state, "linear.weight": change(state["linear.weight"])}, "x.pt", {})
    loaded = model.get_parameter("linear.weight")
    assert loaded.dtype == torch.float32
    assert torch.allclose(loaded, state["linear.weight"], atol=1e-3)
