"""Progress under other names and as a part of a whole."""

import pytest

from edgeprune.progress import part_of, prefixed, renamed, silent


@pytest.fixture
def seen():
    return []


@pytest.fixture
def progress(seen):
    return lambda *told: seen.append(told)


def test_renamed_replaces_the_name_of_every_step(progress, seen):
    renamed(progress, "blocks")("timing units", 1, 2)
    assert seen == [("blocks", 1, 2)]


@pytest.mark.parametrize(("number", "done"), [(0, 2), (1, 6), (2, 10)])
def test_a_part_counts_those_before_it(progress, seen, number, done):
    part_of(progress, "training", number, parts=3)("epoch", 2, 4)
    assert seen == [("training", done, 12)]


@pytest.mark.parametrize(("name", "step"), [("0.7x", "0.7x search"), ("", "search")])
def test_a_prefix_goes_before_the_name_unless_it_is_empty(progress, seen, name, step):
    prefixed(progress, name)("search", 1, 2)
    assert seen == [(step, 1, 2)]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda progress: renamed(progress, "blocks"),
        lambda progress: prefixed(progress, "0.7x"),
        lambda progress: part_of(progress, "training", 1, 2),
    ],
)
def test_the_best_so_far_goes_through(progress, seen, wrapped):
    wrapped(progress)("search", 1, 2, "best 0.48x")
    assert seen[0][3] == "best 0.48x"


def test_silent_takes_what_a_progress_takes():
    assert silent("step", 1, 2) is None
