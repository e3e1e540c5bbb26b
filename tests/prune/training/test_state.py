"""A training that was interrupted anywhere ends with the weights of one that was not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.loop import Setting, Trained, train, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from tests.images import grey_noise

ALONE = Ranks(device=torch.device("cpu"))
RECIPE = Recipe(epochs=3, batch=8, ema=0.9)
"""8 steps a pass, 24 in all."""


class _Stop(Exception):
    """Stands for whatever ends a process."""


def _network(width: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(width, 2),
    )


def _stop_after(last: int) -> Callable[[str, int, int], None]:
    def progress(step: str, done: int, total: int) -> None:
        if done == last:
            raise _Stop

    return progress


def _interrupted(keep: Keep, last: int, recipe: Recipe = RECIPE) -> None:
    setting = Setting(teacher=_network(6), progress=_stop_after(last), ranks=ALONE, keep=keep)
    with pytest.raises(_Stop):
        train_in(_network(), grey_noise(64), recipe, setting)


def _same(left: Trained, right: Trained) -> bool:
    ours, theirs = left.model.state_dict(), right.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


@pytest.mark.parametrize(
    ("every", "stopped", "left"),
    [(None, 9, 16), (None, 7, 24), (3, 11, 15), (3, 20, 6), (1, 16, 8), (1, 24, 0)],
)
def test_the_rest_of_a_training_gives_the_same_weights(
    tmp_path: Path, every: int | None, stopped: int, left: int
) -> None:
    keep = Keep(tmp_path / "m.state", {"model": "abc"}, every)
    _interrupted(keep, stopped)
    told: list[int] = []
    torch.manual_seed(99)  # dropout may not hang on what ran before
    setting = Setting(
        teacher=_network(6),
        progress=lambda step, done, total: told.append(done),
        ranks=ALONE,
        keep=keep,
    )
    resumed = train_in(_network(), grey_noise(64), RECIPE, setting)
    whole = train(_network(), grey_noise(64), RECIPE, teacher=_network(6), device=ALONE.device)
    assert told == list(range(25 - left, 25))
    assert _same(resumed, whole)
    assert resumed.history["loss"] == whole.history["loss"]
    assert {path.name for path in tmp_path.iterdir()} == {"m.state"}


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    train(_network(), grey_noise(64), Recipe(steps=2, batch=8), device=ALONE.device)
    torch.manual_seed(1)
    expected = torch.rand(3)
    network = _network()  # sets the seed to 1 and draws
    drawn = torch.rand(3)
    _network()
    train(network, grey_noise(64), Recipe(steps=2, batch=8), device=ALONE.device)
    assert not torch.equal(torch.rand(3), expected)
    _network()
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize(
    ("task", "recipe", "images", "said"),
    [
        ({"model": "xyz"}, {}, 64, "model was abc, now it is xyz"),
        ({"model": "abc"}, {"lr": 0.1}, 64, "lr was 0.05, now it is 0.1"),
        ({"model": "abc"}, {"epochs": 4}, 64, "epochs was 3, now it is 4"),
        ({"model": "abc"}, {}, 72, "training images was 64, now it is 72"),
        ({}, {}, 64, "model was abc, now it is None"),
    ],
)
def test_the_state_of_another_training_is_refused(
    tmp_path: Path, task: dict[str, Any], recipe: dict[str, Any], images: int, said: str
) -> None:
    path = tmp_path / "m.state"
    _interrupted(Keep(path, {"model": "abc"}), 9)
    before = path.read_bytes()
    other = Setting(teacher=_network(6), ranks=ALONE, keep=Keep(path, task))
    wanted = Recipe(**{"epochs": 3, "batch": 8, "ema": 0.9, **recipe})
    with pytest.raises(InputError, match=f"another training: {said}.*--overwrite"):
        train_in(_network(), grey_noise(images), wanted, other)
    assert path.read_bytes() == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _without_momenta(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "optimizer": {}}, path)


def _another_width(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "model": _network(5).state_dict()}, path)


def _another_format(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format": 99}, path)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _without_momenta,
        _another_width,
        _another_format,
        lambda path: path.write_bytes(b""),
        lambda path: torch.save({"format": 1}, path),
        lambda path: torch.save([1], path),
    ],
)
def test_a_damaged_state_is_one_clear_error(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keep = Keep(tmp_path / "m.state")
    _interrupted(keep, 9)
    damage(keep.path)
    with pytest.raises(InputError, match="no state of a training, or a damaged one"):
        train_in(_network(), grey_noise(64), RECIPE, Setting(ranks=ALONE, keep=keep))


def test_code_in_a_state_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"format": 1, "task": Trap()}, tmp_path / "m.state")
    with pytest.raises(InputError, match="no state of a training"):
        setting = Setting(ranks=ALONE, keep=Keep(tmp_path / "m.state"))
        train_in(_network(), grey_noise(64), RECIPE, setting)
    assert not (tmp_path / "sprung").exists()


def test_a_disk_that_refuses_is_one_clear_error(tmp_path: Path) -> None:
    setting = Setting(ranks=ALONE, keep=Keep(tmp_path / "nowhere" / "m.state"))
    with pytest.raises(MachineError, match="cannot write"):
        train_in(_network(), grey_noise(64), RECIPE, setting)
