"""The order in which accuracy is won back, and when it ends."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import onnx
import pytest

from edgeprune.deploy.precision.recovery import Aim, Quantiser, recovered
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.errors import InputError
from edgeprune.target import Precision, Runtime

HALF = Precision(mode="int8", min_integer_conv_fraction=0.5)


@pytest.fixture
def quantiser(images: list[Any]) -> Quantiser:
    images[-1] = 8 * images[-1]  # an outlier: the others have few levels left, and errors to win
    return Quantiser(images=images, precision=HALF, scheme=Scheme(), runtime=Runtime())


def test_nothing_more_is_tried_once_enough_is_kept(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    made = recovered(proto, quantiser)  # by the logits: 20 dB are reached at once
    assert [step.name for step in made.steps] == ["ranges: minmax"]
    assert made.fidelity.sqnr_db > 20
    made = recovered(proto, quantiser, Aim(lost=lambda _: 0.4, allowed=0.5))
    assert [(step.name, step.lost) for step in made.steps] == [("ranges: minmax", 0.4)]


def test_the_steps_come_in_their_order_and_only_what_is_better_stays(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    points = iter([5.0, 4.0, 6.0, 2.0, 1.0])
    made = recovered(proto, quantiser, Aim(lost=lambda _: next(points), allowed=3.0))
    names = [(step.name, step.kept) for step in made.steps]
    assert names[:3] == [
        ("ranges: minmax", True),
        ("bias correction", True),
        ("ranges: percentile", False),
    ]
    assert names[3][0].endswith(" in float")
    assert (made.method, len(made.excluded), len(made.steps)) == ("minmax", 1, 4)


def test_no_more_convolutions_go_to_float_than_the_target_lets(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    precision = HALF.model_copy(update={"min_integer_conv_fraction": 1.0})
    made = recovered(
        proto, replace(quantiser, precision=precision), Aim(lost=lambda _: 9.0, allowed=0.0)
    )
    assert set(made.excluded) <= {"w3"}  # the classifier is no convolution


def test_layers_go_to_float_by_what_they_win_for_their_time(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    asked: list[int] = []

    def timed(protos: Sequence[onnx.ModelProto]) -> list[float]:
        asked.append(len(protos))
        return [1.0, *(2.0 for _ in protos[1:])]

    recovered(proto, quantiser, Aim(lost=lambda _: 9.0, allowed=0.0, timed=timed))
    assert len(asked) == 1
    assert asked[0] >= 2


def test_layers_are_named_by_pattern(proto: onnx.ModelProto, quantiser: Quantiser) -> None:
    precision = HALF.model_copy(update={"exclude": ("w[12]",)})
    made = recovered(proto, replace(quantiser, precision=precision))
    assert made.excluded == ("w1", "w2")
    precision = HALF.model_copy(update={"exclude": ("ww1",)})
    with pytest.raises(InputError, match="no layer is called 'ww1', did you mean 'w1'"):
        recovered(proto, replace(quantiser, precision=precision))


def test_a_method_that_was_named_is_the_only_one(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    changed = {"calibration_method": "percentile", "exclude": "none"}
    asked = replace(quantiser, precision=HALF.model_copy(update=changed))
    made = recovered(proto, asked, Aim(lost=lambda _: 9.0, allowed=0.0))
    assert [step.name for step in made.steps] == ["ranges: percentile", "bias correction"]
