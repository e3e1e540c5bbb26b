"""Foreign text as one safe line, the nearest known word, the first problem, digests."""

import pytest
from pydantic import BaseModel, ValidationError

from edgeprune.text import did_you_mean, digest, duration, error_line, first_problem, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("a\n::error::b\r\tc", "a ::error::b c"),
        ("\x1b[2Jred\x07", "[2Jred"),
        ("a\u2028b\u202ec\x85d", "a b c d"),
        ("  ünïcode  犬 ", "ünïcode 犬"),
        ("\ud800", ""),
        (7, "7"),
    ],
)
def test_one_line_prints_and_breaks_nothing(text, line):
    assert one_line(text) == line


def test_an_error_line_has_kind_and_words():
    assert error_line(KeyError("a\nb")) == r"KeyError: 'a\nb'"


@pytest.mark.parametrize(
    ("word", "said"),
    [("latncy", ", did you mean 'latency'?"), ("zzz", "; known: all"), ("", "; known: all")],
)
def test_the_nearest_word_or_what_else_is_said(word, said):
    assert did_you_mean(word, ["latency", "macs"], otherwise="; known: all") == said


def test_the_first_problem_is_a_dotted_place_and_words():
    class Inner(BaseModel):
        widths: list[int]

    class Outer(BaseModel):
        inner: Inner

    with pytest.raises(ValidationError) as error:
        Outer.model_validate({"inner": {"widths": [1, "x"]}})
    place, words = first_problem(error.value)
    assert place == "inner.widths.1"
    assert "valid integer" in words


def test_a_digest_is_the_beginning_of_sha256_of_text_or_bytes():
    assert digest("abc") == digest(b"abc") == "ba7816bf8f01cfea"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (125, "2 min 05 s"), (4200, "1 h 10 min")],
)
def test_a_duration_is_said_as_people_say_it(seconds, said):
    assert duration(seconds) == said
