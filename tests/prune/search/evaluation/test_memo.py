"""Values computed once: over processes, over a crash, and never those of another basis."""

import math

import pytest

from edgeprune.errors import MachineError
from edgeprune.prune.search.evaluation.memo import Memo

NUMBERS = {"loss": 0.1 + 0.2, "accuracy": 1 / 3}


class Counted:
    """Computes numbers and counts how often."""

    def __init__(self, numbers=NUMBERS):
        self.numbers, self.calls = numbers, 0

    def __call__(self):
        self.calls += 1
        return self.numbers


def test_a_value_is_computed_once_and_read_back_bit_by_bit(tmp_path):
    compute = Counted()
    for _ in range(3):
        memo = Memo(tmp_path / "scores.jsonl")
        assert memo.recall("F1", [1, "x"], compute) == NUMBERS
        assert memo.recall("F1", [1, "x"], compute) == NUMBERS
    assert compute.calls == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-308, 0.0])
def test_numbers_that_json_has_no_word_for_are_kept(tmp_path, value):
    Memo(tmp_path / "scores.jsonl").recall("damage", 1, Counted({"damage": value}))
    again = Counted()
    found = Memo(tmp_path / "scores.jsonl").recall("damage", 1, again)
    assert found["damage"] == value or (math.isnan(found["damage"]) and math.isnan(value))
    assert again.calls == 0


@pytest.mark.parametrize(
    ("basis", "kind", "given"),
    [("other", "F1", [1]), (None, "F1", [1]), ("images", "F2", [1]), ("images", "F1", [2])],
)
def test_a_value_of_another_basis_kind_or_argument_is_not_taken(tmp_path, basis, kind, given):
    Memo(tmp_path / "scores.jsonl", "images").recall("F1", [1], Counted())
    compute = Counted({"loss": 7.0})
    assert Memo(tmp_path / "scores.jsonl", basis).recall(kind, given, compute) == {"loss": 7.0}
    assert compute.calls == 1


def test_wherever_the_file_is_cut_off_every_whole_line_counts_and_the_next_is_a_line_too(tmp_path):
    path = tmp_path / "scores.jsonl"
    memo = Memo(path)
    for number in range(3):
        memo.recall("F1", number, Counted({"loss": number / 7}))
    content = path.read_bytes()
    ends = [at for at, byte in enumerate(content + b"\n") if byte == 10]
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        computes = [Counted({"loss": number / 7}) for number in range(3)]
        for _ in range(2):  # what is computed again is found again
            memo = Memo(path)
            for number, compute in enumerate(computes):
                assert memo.recall("F1", number, compute) == {"loss": number / 7}
        assert sum(compute.calls for compute in computes) == sum(cut < end for end in ends)


@pytest.mark.parametrize("line", ["{}", "7", "[1]", "null", '{"key": ["x"]}', "\x00\x00", "\xff"])
def test_foreign_lines_are_skipped(tmp_path, line):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(line.encode("latin-1") + b"\n")
    compute = Counted()
    assert Memo(path).recall("F1", 1, compute) == NUMBERS
    assert Memo(path).recall("F1", 1, compute) == NUMBERS
    assert compute.calls == 1


def test_without_a_file_values_live_as_long_as_the_memo():
    compute = Counted()
    memo = Memo()
    assert memo.recall("F1", 1, compute) is memo.recall("F1", 1, compute)
    Memo().recall("F1", 1, compute)
    assert compute.calls == 2


def test_a_file_that_cannot_be_written_is_one_line_with_its_name(tmp_path):
    with pytest.raises(MachineError, match=r"cannot write .*scores\.jsonl"):
        Memo(tmp_path / "missing" / "scores.jsonl").recall("F1", 1, Counted())


def test_values_of_other_searches_are_taken_and_their_files_left_alone(tmp_path):
    theirs, ours = tmp_path / "theirs.jsonl", tmp_path / "ours.jsonl"
    Memo(theirs, "images").recall("F1", [1], Counted())
    before = theirs.read_bytes()
    for _ in range(2):  # also of a search that goes on
        memo = Memo(ours, "images", (theirs, tmp_path / "missing.jsonl"))
        assert memo.knows("F1", [1]) and memo.is_shared("F1", [1])
        assert memo.recall("F1", [1], Counted({"loss": 7.0})) == NUMBERS
        memo.recall("F1", [2], Counted({"loss": 2.0}))
        assert not memo.is_shared("F1", [2])
    assert theirs.read_bytes() == before
    assert len(ours.read_text().splitlines()) == 1
    assert not Memo(ours, "other images", (theirs,)).knows("F1", [1])


def test_what_a_search_computed_itself_is_its_own(tmp_path):
    theirs, ours = tmp_path / "theirs.jsonl", tmp_path / "ours.jsonl"
    for path in (theirs, ours):
        Memo(path).recall("F1", [1], Counted())
    assert not Memo(ours, None, (theirs,)).is_shared("F1", [1])
