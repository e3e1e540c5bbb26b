"""A search that was interrupted answers what it would have answered without the interruption."""

import pytest

from edgeprune.errors import InputError
from edgeprune.prune.search.strategies.replay import Replaying
from edgeprune.prune.space.budget import Limits

HALF, NEAR, LOW = Limits(latency=0.5), Limits(latency=0.48), Limits(latency=0.3, macs=0.6)


class Remembering:
    """A search whose every answer depends on all that it was asked before."""

    def __init__(self):
        self.asked = []

    def __call__(self, limits):
        self.asked.append(limits)
        return tuple(self.asked)


def test_a_resumed_search_is_asked_again_what_it_had_answered(tmp_path):
    whole = Remembering()
    expected = [whole(limits) for limits in (HALF, NEAR, LOW)]
    first = Replaying(Remembering(), tmp_path / "asked.json")
    assert [first(HALF), first(NEAR)] == expected[:2]
    second = Replaying(Remembering(), tmp_path / "asked.json")
    assert second(LOW) == expected[2]
    third = Replaying(Remembering(), tmp_path / "asked.json")
    assert [third(limits) for limits in (HALF, NEAR, LOW)] == expected


def test_a_search_that_failed_is_not_noted(tmp_path):
    def failing(limits):
        raise InputError("no")

    with pytest.raises(InputError):
        Replaying(failing, tmp_path / "asked.json")(HALF)
    assert not (tmp_path / "asked.json").exists()


@pytest.mark.parametrize("content", ["{", "[1]", '[{"latency": 0.5, "speed": 1}]', "7", "\0"])
def test_damaged_notes_are_one_line_with_the_next_step(tmp_path, content):
    (tmp_path / "asked.json").write_text(content)
    with pytest.raises(InputError, match=r"asked\.json is damaged; delete it"):
        Replaying(Remembering(), tmp_path / "asked.json")


def test_the_front_is_the_searchs_own_or_empty(tmp_path):
    class Fronted(Remembering):
        def front(self):
            return ("a", "b")

    assert Replaying(Fronted(), tmp_path / "a.json").front() == ("a", "b")
    assert Replaying(Remembering(), tmp_path / "b.json").front() == ()
