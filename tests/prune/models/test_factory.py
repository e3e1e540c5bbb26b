"""A user's own module is imported, from the working directory too, and errors stay short."""

import sys
from pathlib import Path

import pytest

from edgeprune.errors import InputError
from edgeprune.prune.models.factory import imported


def test_the_working_directory_is_searched_and_then_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_of_factory_test").mkdir()
    (tmp_path / "nets_of_factory_test" / "small.py").write_text("def make():\n    return 7\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert imported("nets_of_factory_test.small:make")() == 7
    assert sys.path == before


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("1 / 0", "broken_a_of_test:make", "ZeroDivisionError: division by zero"),
        ("make = 3", "broken_b_of_test:make", "has no function 'make'"),
        ("def (", "broken_c_of_test:make", "SyntaxError"),
        ("", "broken_d_of_test:", "has no function ''"),
    ],
)
def test_what_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str, words: str
) -> None:
    (tmp_path / f"{name.partition(':')[0]}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        imported(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
