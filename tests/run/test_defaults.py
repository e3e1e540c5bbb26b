import math

import pytest
from torch import nn

from edgeprune.errors import InputError
from edgeprune.prune.images.held import IMAGENET
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.run import defaults
from edgeprune.target import Inputs, load_target

TARGET = load_target("mobile-cpu")


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [
        ("resnet20", None, (32, 32)),
        ("mine:net", None, (32, 32)),
        ("resnet18", None, (224, 224)),
        ("resnet18", (96, 160), (96, 160)),
    ],
)
def test_the_image_size_is_what_the_family_was_made_for(model, given, size):
    assert defaults.size_of(model, given, TARGET) == size


def pinned(*shape):
    return TARGET.model_copy(update={"input": Inputs(shape=shape)})


def test_a_pinned_shape_decides_the_size():
    assert defaults.size_of("resnet20", None, pinned(1, 3, 64, 48)) == (64, 48)
    with pytest.raises(InputError, match="--image-size 32x32"):
        defaults.size_of("resnet20", (32, 32), pinned(1, 3, 64, 64))
    with pytest.raises(InputError, match="takes one image"):
        defaults.size_of("resnet20", None, pinned(4, 3, 64, 64))


def net(channels=1):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.LazyLinear(2))


@pytest.mark.parametrize(
    ("channels", "mean", "std", "found"),
    [
        (1, None, None, ((0.449,), (0.226,))),
        (3, None, None, (IMAGENET.mean, IMAGENET.std)),
        (3, (0.5, 0.5, 0.5), None, ((0.5, 0.5, 0.5), IMAGENET.std)),
        (4, (0.5,) * 4, (0.2,) * 4, ((0.5,) * 4, (0.2,) * 4)),
    ],
)
def test_the_network_says_how_many_channels(monkeypatch, channels, mean, std, found):
    monkeypatch.setattr(defaults.zoo, "build", lambda spec: net(channels))
    made = defaults.normalisation_of(ModelSpec("mine:net"), mean, std, pinned(1, channels, 8, 8))
    assert (made.mean, made.std) == found


def test_what_goes_into_a_file_is_of_plain_types():
    class Numbers(tuple[float, ...]):
        pass

    made = defaults.normalisation_of(
        ModelSpec("resnet20"), Numbers((0.5,) * 3), Numbers((1.0,) * 3)
    )
    assert {type(made.mean), type(made.std)} == {tuple}


@pytest.mark.parametrize(
    ("channels", "mean", "target", "words"),
    [
        (4, None, TARGET, "takes images of 4 channels; give --mean and --std"),
        (1, (0.5,) * 3, TARGET, "1 channels, --mean and --std are for 3"),
        (1, None, pinned(1, 3, 8, 8), "mine:net takes 1 channels"),
    ],
)
def test_another_number_of_channels_is_refused(monkeypatch, channels, mean, target, words):
    monkeypatch.setattr(defaults.zoo, "build", lambda spec: net(channels))
    with pytest.raises(InputError, match=words):
        defaults.normalisation_of(ModelSpec("mine:net"), mean, mean, target)
    with pytest.raises(InputError, match="resnet20 takes images of 3 channels"):
        defaults.normalisation_of(ModelSpec("resnet20"), (0.5,), (0.5,))


@pytest.mark.parametrize(
    ("elsewhere", "limits", "latency", "macs"),
    [
        (False, {}, TARGET.budget.relative.latency, None),
        (False, {"latency": 0.4, "macs": 0.6}, 0.4, 0.6),
        (False, {"latency": math.inf}, None, None),
        (True, {}, None, None),
        (True, {"latency": 0.6}, 0.6, None),
    ],
)
def test_options_win_over_the_profile(elsewhere, limits, latency, macs):
    budget = defaults.budget(TARGET, latency_elsewhere=elsewhere, **limits)
    assert (budget.latency, budget.macs) == (latency, macs)


def test_fewer_evaluations_get_fewer_refits_but_one_for_each_finalist():
    usual, short = defaults.effort("x", None, None), defaults.effort("x", 40, 2)
    assert (usual.evaluations, usual.refitted, usual.finalists) == (176, 16, 4)
    assert (short.evaluations, short.refitted, short.finalists) == (40, 4, 2)
    assert defaults.effort("x", 8, 3).refitted == 3


def test_the_digits_take_smaller_batches():
    assert defaults.recovery_recipe("digits").batch < defaults.recovery_recipe("folder").batch
    assert defaults.dense_recipe("digits", 3, 7).seed == 7


def test_a_recipe_that_cannot_be_names_the_option():
    with pytest.raises(InputError, match=r"--kd-weight cannot be 1\.5"):
        defaults.recovery_recipe("folder", alpha=1.5, lr=None)
