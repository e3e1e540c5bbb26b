"""The bars of the table benchmark: kept, missed, and never passed by a value that is no number."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "latency_table.py"


@pytest.fixture(scope="module")
def benchmark_file() -> Any:
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("latency_table_benchmark", BENCHMARK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "off", "seconds", "speed", "words"),
    [
        ("resnet20", 0.01, 500.0, 1.5, []),
        ("resnet56", 0.01, 90.0, 0.5, []),
        ("resnet56", 0.01, 91.0, 0.5, ["built in 91 s"]),
        ("resnet20", 0.01, 10.0, 0.9, ["0.90 M predictions/s"]),
        ("vgg16", 0.05, 10.0, 0.1, ["mean error 5.0%"]),
        ("vgg16", float("nan"), 10.0, 0.1, ["mean error nan%"]),
    ],
)
def test_bars(
    benchmark_file: Any, name: str, off: float, seconds: float, speed: float, words: list[str]
) -> None:
    true = np.linspace(1.0, 2.0, 12)
    errors = benchmark_file.Errors(true * (1 + off), true)
    found = benchmark_file.missed(name, errors, seconds, speed)
    assert len(found) == len(words)
    assert all(word in line for word, line in zip(words, found, strict=True))


def test_networks_in_the_wrong_order_miss_the_rank(benchmark_file: Any) -> None:
    true = np.linspace(1.0, 1.01, 12)
    found = benchmark_file.missed("vgg16", benchmark_file.Errors(true[::-1], true), 1.0, 1.0)
    assert len(found) == 1
    assert "rank correlation -1.000" in found[0]
