import math

import pytest
import typer

from edgeprune.cli import values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.7,0.5", (0.7, 0.5)),
        ("0.7, 0.5,0.35", (0.7, 0.5, 0.35)),
    ],
)
def test_a_family_is_falling_ratios(text, value):
    assert values.falling(text) == value


@pytest.mark.parametrize("given", ["0.5 .4 3e-1", "0.5,0.4, 0.3", [0.5, 0.4, 0.3]])
def test_a_number_for_each_channel(given):
    assert values.per_channel(given) == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("none", math.inf), (0.5, 0.5)])
def test_a_ratio_is_a_number_or_none_also_from_a_project_file(text, value):
    assert values.ratio(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.ratio, "0"),
        (values.ratio, "-1"),
        (values.ratio, "1.01"),
        (values.loose_ratio, "half"),
        (values.loose_ratio, "50"),
        (values.ratio, "nan"),
        (values.points, "101"),
        (values.points, "-0.1"),
        (values.milliseconds, 0.0),
        (values.milliseconds, math.nan),
        (values.falling, "0.5,0.7"),
        (values.per_channel, "grey"),
        (values.argument, "shortcut"),
        (values.argument, "=A"),
    ],
)
def test_what_cannot_be_meant_is_refused(parse, text):
    with pytest.raises(typer.BadParameter):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("shortcut=A-conv", ("shortcut", "A-conv")),
        ("width=3", ("width", 3)),
        ("width=3.5", ("width", 3.5)),
        ("bias=true", ("bias", True)),
        ("name=a=b", ("name", "a=b")),
    ],
)
def test_an_argument_of_a_model_reads_as_what_it_looks_like(text, value):
    assert values.argument(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("1H 5m 3s", 3903)],
)
def test_a_time_is_said_in_hours_minutes_and_seconds(text, value):
    assert values.seconds(text) == value


@pytest.mark.parametrize("text", ["", "30", "0s", "1.5h", "m", "30m1h", "-5m", "forever"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(typer.BadParameter, match="such as 90s, 30m or 1h30m"):
        values.seconds(text)


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (values.ratio, "50%", "50% is a percentage; the ratio is 0.5"),
        (values.ratio, "50", "50 is above 1, the dense model itself; for 50 % of it take 0.5"),
        (values.ratio, "2", "for 0.5 of it, 2 times as fast, take 0.5"),
        (
            values.falling,
            "70,50",
            "70 is above 1, the dense model itself; for 70 % of it take 0.7",
        ),
        (values.falling, "70%,50%", "70% is a percentage; the ratio is 0.7"),
        (values.loose_ratio, "70%", "70% is a percentage; the ratio is 0.7"),
        (values.loose_ratio, "70", "for 70 % of it take 0.7"),
        (values.points, "1%", "1% is given in points; take 1"),
    ],
)
def test_the_ratio_that_was_meant_is_named(parse, text, said):
    with pytest.raises(typer.BadParameter, match=said.replace(".", r"\.")):
        parse(text)


def test_a_gate_may_allow_a_little_more_than_the_dense_model():
    assert values.loose_ratio("1.05") == 1.05
