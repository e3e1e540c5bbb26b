import math

import pytest
import typer

from edgeprune.cli import options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.7,0.5", (0.7, 0.5)),
        ("0.7, 0.5,0.35", (0.7, 0.5, 0.35)),
        ("2", (2.0,)),
    ],
)
def test_a_family_is_falling_ratios(text, value):
    assert options._falling(text) == value


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("none", math.inf), (0.5, 0.5)])
def test_a_ratio_is_a_number_or_none_also_from_a_project_file(text, value):
    assert options._ratio(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (options._ratio, "0"),
        (options._ratio, "-1"),
        (options._ratio, "nan"),
        (options._points, "101"),
        (options._points, "-0.1"),
        (options._milliseconds, 0.0),
        (options._milliseconds, math.nan),
        (options._falling, "0.5,0.7"),
        (options._argument, "shortcut"),
        (options._argument, "=A"),
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
    assert options._argument(text) == value
