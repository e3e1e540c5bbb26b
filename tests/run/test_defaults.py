import math

import pytest

from edgeprune.errors import InputError
from edgeprune.run import defaults
from edgeprune.target import Inputs, load_target

TARGET = load_target("mobile-cpu")


@pytest.mark.parametrize(
    ("model", "given", "side"),
    [
        ("resnet20", None, 32),
        ("mine:net", None, 32),
        ("resnet18", None, 224),
        ("resnet18", 96, 96),
    ],
)
def test_the_image_side_is_what_the_family_was_made_for(model, given, side):
    assert defaults.side(model, given, TARGET) == side


def test_a_pinned_shape_decides_the_side():
    pinned = TARGET.model_copy(update={"input": Inputs(shape=(1, 3, 64, 64))})
    assert defaults.side("resnet20", None, pinned) == 64
    with pytest.raises(InputError, match="--image-size 32"):
        defaults.side("resnet20", 32, pinned)


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
