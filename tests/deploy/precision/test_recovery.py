"""The order in which accuracy is won back, and when it ends."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgeprune.deploy.precision.recovery import plainly, recovered
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.trials import Aim, Quantiser
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import InputError
from edgeprune.target import Parity, Precision, Runtime

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


def test_accuracy_that_is_kept_does_not_end_it_while_the_logits_are_far(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    first = recovered(proto, quantiser).fidelity.sqnr_db
    parity = Parity(sqnr_db=first + 0.5, agreement=0)
    asked = replace(quantiser, parity=parity)
    points = iter([0.1] + 20 * [0.4])  # what is nearer loses more, and no more than may be
    made = recovered(proto, asked, Aim(lost=lambda _: next(points), allowed=float("inf")))
    assert len(made.steps) > 1
    assert made.fidelity.sqnr_db >= parity.sqnr_db, "it is proven by this, and would be refused"
    assert made.lost == 0.4


def test_what_is_only_timed_is_the_first_step(
    proto: onnx.ModelProto, quantiser: Quantiser
) -> None:
    (step,) = (made := recovered(proto, quantiser)).steps
    assert (step.name, step.kept) == ("ranges: minmax", True)
    assert plainly(proto, quantiser) == made.proto


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

    def timed(files: Sequence[Path], _: Path) -> list[Interval]:
        asked.append(len(files))
        return [Interval(1.9, 2.0, 2.1)] * len(files)

    recovered(proto, quantiser, Aim(lost=lambda _: 9.0, allowed=0.0, timed=timed))
    assert len(asked) == 2  # the sensitive ones, and last those at the ends
    assert asked[0] >= 1


@pytest.mark.parametrize(
    ("time", "lost", "kept"),
    [
        (Interval(0.90, 0.95, 0.99), [0.4, 0.4, 0.4], True),
        (Interval(0.90, 0.95, 0.99), [0.4, 0.6, 0.7], False),  # more than may be lost
        (Interval(0.90, 0.95, 1.01), [0.4], None),  # in doubt: not even tried
    ],
)
def test_what_is_surely_faster_in_float_stays_there(
    proto: onnx.ModelProto,
    quantiser: Quantiser,
    time: Interval,
    lost: list[float],
    kept: bool | None,
) -> None:
    def timed(files: Sequence[Path], _: Path) -> list[Interval]:
        slower = Interval(1.1, 1.2, 1.3)
        return [time if n == 0 else slower for n in range(len(files))]

    points = iter(lost)
    made = recovered(proto, quantiser, Aim(lost=lambda _: next(points), allowed=0.5, timed=timed))
    assert made.excluded == (("w1",) if kept else ())
    steps = [(step.name, step.kept) for step in made.steps]
    assert steps[1:] == ([] if kept is None else [("w1 in float, 0.950x the time", kept)])


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
