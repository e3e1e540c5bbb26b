"""Weights are found in every common layout, and the line says what was recognised."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgeprune.errors import InputError
from edgeprune.prune.models.state_dicts import Weights, read_weights

State = dict[str, Tensor]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)


@pytest.fixture
def own() -> State:
    torch.manual_seed(0)
    return dict(Net().state_dict())


def _under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _read(content: Any, own: State, folder: Path) -> Weights:
    torch.save(content, folder / "w.pt")
    return read_weights(folder / "w.pt", own)


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "module.", "_orig_mod.", "model.", "net.", "backbone.", "ema.module."),
        *("module._orig_mod.", "encoder.body."),
    ],
)
@pytest.mark.parametrize(
    "key",
    ["", "state_dict", "model", "model_state_dict", "net", "ema", "model_ema", "module", "params"],
)
def test_every_common_layout_is_found(key: str, prefix: str, own: State, tmp_path: Path) -> None:
    weights = _under(prefix, own)
    content = {key: weights, "epoch": 3, "optimizer": {"state": {0: {"m": torch.ones(2)}}}}
    found = _read(content if key else weights, own, tmp_path)
    assert list(found.state) == list(own)
    assert all(torch.equal(found.state[name], own[name]) for name in own)
    line = found.describe(own)
    assert line.startswith(f"weights under `{key}`" if key else "bare state_dict")
    assert (f"prefix `{prefix}`" in line) == bool(prefix)
    assert line.endswith("8 of 8 tensors")


LAYOUTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "Lightning": (
        lambda own: {
            "pytorch-lightning_version": "2.4.0",
            "state_dict": {**_under("model.", own), "loss.weight": torch.ones(2)},
            "hyper_parameters": {"lr": 0.1, "widths": [1, 2]},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        },
        "Lightning checkpoint, prefix `model.`, 8 of 8 tensors; 1 beside them left out, such as "
        "loss.weight",
    ),
    "nested": (
        lambda own: {"ema": {"state": {"module": own}, "decay": 0.99}},
        "weights under `ema.state.module`, 8 of 8 tensors",
    ),
    "average beside the network": (
        lambda own: {"model": own, "model_ema": {n: t + 1 for n, t in own.items()}},
        "weights under `model`, 8 of 8 tensors",
    ),
    "half": (
        lambda own: {n: t.half() if t.ndim == 4 else t.bfloat16() for n, t in own.items()},
        "bare state_dict, 8 of 8 tensors, bfloat16 read as float32 and float16 read as float32",
    ),
    "old, without counters": (
        lambda own: {n: t for n, t in own.items() if "num_batches" not in n},
        "bare state_dict, 8 of 8 tensors",
    ),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_line_says_what_was_recognised(kind: str, own: State, tmp_path: Path) -> None:
    make, line = LAYOUTS[kind]
    found = _read(make(own), own, tmp_path)
    assert found.describe(own) == line
    assert torch.equal(
        found.state["fc.bias"].float(), own["fc.bias"].to(found.state["fc.bias"].dtype).float()
    )


def test_an_averaged_model_is_found(own: State, tmp_path: Path) -> None:
    averaged = AveragedModel(Net())
    found = _read(averaged.state_dict(), own, tmp_path)
    assert found.left_out == ("n_averaged",)
    assert torch.equal(found.state["fc.weight"], averaged.module.fc.weight)


def test_safetensors_are_recognised(own: State, tmp_path: Path) -> None:
    save_file(_under("model.", own), tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors", own)
    assert found.describe(own) == "safetensors file, prefix `model.`, 8 of 8 tensors"


def test_two_networks_that_fit_equally_are_not_chosen_between(own: State, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 networks that fit equally well: `left`, `right`"):
        _read({"left": own, "right": {n: t + 1 for n, t in own.items()}}, own, tmp_path)


@pytest.mark.parametrize("held", [{}, {"epoch": 3}, [torch.ones(1)], {"state_dict": {"w": "x"}}])
def test_a_file_without_weights_says_so(held: Any, own: State, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no weights"):
        _read(held, own, tmp_path)


def test_names_that_fit_nothing_are_shown_without_their_wrapper(
    own: State, tmp_path: Path
) -> None:
    found = _read(_under("module.", {"stem.weight": torch.ones(2)}), own, tmp_path)
    assert list(found.state) == ["stem.weight"]
