"""A few inputs through every reader of benchmarks/fuzz.py, and the fuzzer fails where it must."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def survival() -> Any:
    return importlib.import_module("fuzzing.survival")


def test_a_known_refusal_survives(survival: Any, tmp_path: Path) -> None:
    from edgeprune.target import load_target

    counts = survival.Survival()
    counts.of(lambda: load_target(str(tmp_path / "none.toml")), tmp_path)
    assert (counts.inputs, counts.taken, counts.refused) == (1, 0, 1)


def test_an_error_that_nobody_foresaw_does_not(survival: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        survival.Survival().of(lambda: 1 / 0, tmp_path)


@pytest.mark.parametrize("line", ["\x1b[31mred", "::error::forged", "a\u2028b"])
def test_what_reaches_a_terminal_is_looked_at(survival: Any, tmp_path: Path, line: str) -> None:
    with pytest.raises(survival.FailedError):
        survival.Survival().of(lambda: [line], tmp_path)


def test_a_file_left_behind_is_seen(survival: Any, tmp_path: Path) -> None:
    with pytest.raises(survival.FailedError, match="left"):
        survival.Survival().of((tmp_path / "new").touch, tmp_path)


def test_what_computes_without_end_is_stopped_though_it_takes_that_for_an_error(
    survival: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survival, "SECONDS", 0.2)

    def busy() -> None:
        try:
            while True:
                pass
        except Exception:
            return

    with pytest.raises(survival.FailedError, match="computed"):
        survival.Survival().of(busy, tmp_path)


def test_damaged_inputs_end_in_one_line(tmp_path: Path) -> None:
    fuzz = importlib.import_module("fuzz")
    readers = importlib.import_module("fuzzing.readers")
    made = importlib.import_module("fuzzing.reader").Maker(tmp_path)
    for reader in [*readers.devices(made), readers.commands(made)]:
        assert fuzz.fuzz(reader, 40, 0, shrink=False) == ""


def test_a_reader_that_breaks_is_told(tmp_path: Path) -> None:
    fuzz = importlib.import_module("fuzz")
    maker = importlib.import_module("fuzzing.reader").Maker(tmp_path)
    mutations = importlib.import_module("fuzzing.mutations")

    def careless(path: Path) -> None:
        assert json.loads(path.read_bytes())["a"] == 1

    reader = maker.file("careless", 1, mutations.damaged_json({"a": 1}), careless)
    assert "Error" in fuzz.fuzz(reader, 40, 0, shrink=False)
