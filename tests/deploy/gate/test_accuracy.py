"""The accuracy budget: Newcombe's published intervals, and files that record too little."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.artifact.facts import Facts, read
from edgeprune.deploy.artifact.provenance import PairedCounts
from edgeprune.deploy.gate import accuracy as module
from edgeprune.deploy.gate.accuracy import accuracy, images_needed, paired_difference, wilson


def counts(both: int, dense: int, slim: int, neither: int) -> PairedCounts:
    return PairedCounts(both=both, dense=dense, slim=slim, neither=neither)


@pytest.fixture
def facts(tmp_path: Path, net: Callable[..., bytes]) -> Callable[..., Facts]:
    """Facts of a small network that records these counts, and what else is given."""

    def make(found: PairedCounts | None = None, **recorded: str) -> Facts:
        if found:
            shares = {"dense": found.dense_share, "slim": found.slim_share}
            known = {f"accuracy_{name}": repr(share) for name, share in shares.items()}
            recorded = {"answers": found.model_dump_json(), **known, **recorded}
        return read(tmp_path / "m.onnx", content=net(8, **recorded))

    return make


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe 1998, table III, method 10 at 95 %.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((2, 97, 1, 0), 0.8721, 0.9854),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_newcombes_table(
    monkeypatch: pytest.MonkeyPatch, table: tuple[int, ...], low: float, high: float
) -> None:
    monkeypatch.setattr(module, "ALPHA", 0.05)
    found = paired_difference(counts(*table))
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_wilson_is_the_textbook_one() -> None:
    # R. Newcombe, Two-sided confidence intervals for the single proportion, 1998: 15 of 148.
    assert wilson(15 / 148, 148, 1.959964) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0.0, 20, 1.959964) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (counts(580, 2, 8, 7), "met"),
        (counts(580, 6, 2, 9), "inconclusive"),
        (counts(580, 0, 0, 17), "inconclusive"),  # 597 images do not even show equality
        (counts(560, 30, 2, 5), "missed"),
        (counts(9_800, 70, 50, 80), "met"),
    ],
)
def test_a_point_lost(facts: Callable[..., Facts], found: PairedCounts, outcome: str) -> None:
    verdict = accuracy(facts(found), 1.0)
    assert verdict.interval is not None
    assert (verdict.outcome, verdict.value) == (outcome, round(100 * found.lost, 6))
    assert verdict.raw == found.model_dump()
    assert f"{found.images:,} test images" in verdict.evidence
    assert ("would settle a loss like this" in verdict.evidence) == (outcome == "inconclusive")


def test_the_images_that_a_verdict_needs_are_enough() -> None:
    found = counts(580, 5, 2, 10)
    needed = images_needed(found, 0.01)
    assert needed is not None
    assert 597 < needed < 10_000
    scale = needed / found.images
    assert paired_difference(found, scale).high <= 0.01
    assert paired_difference(found, 0.9 * scale).high > 0.01
    assert images_needed(counts(98, 1, 0, 1), 0.01) is None  # exactly at the limit
    assert images_needed(counts(580, 2, 8, 7), 0.01) == 597


@pytest.mark.parametrize(
    ("recorded", "outcome", "value", "words"),
    [
        ({}, "inconclusive", None, "records nothing of its accuracy"),
        ({"macs": "1"}, "inconclusive", None, "no counts of answers; export it again"),
        ({"accuracy_dense": "0.95"}, "inconclusive", None, "no counts of answers"),
        ({"accuracy_dense": "high", "accuracy_slim": "0.9"}, "inconclusive", None, "no counts"),
        (
            {"accuracy_dense": "0.95", "accuracy_slim": "0.94"},
            "inconclusive",
            1.0,
            "95.00% dense, 94.00% slim; the file records no counts",
        ),
        ({"accuracy_dense": "0.95", "accuracy_slim": "0.93"}, "missed", 2.0, "no counts"),
    ],
)
def test_without_counts_nothing_is_met(
    facts: Callable[..., Facts],
    recorded: dict[str, str],
    outcome: str,
    value: float | None,
    words: str,
) -> None:
    found = accuracy(facts(**recorded), 1.0)
    assert (found.outcome, found.value) == (outcome, value)
    assert words in found.evidence


@pytest.mark.parametrize(
    "changes",
    [
        {"answers": "{"},
        {"answers": '{"both":1,"dense":0,"slim":0}'},
        {"answers": '{"both":0,"dense":0,"slim":0,"neither":0}'},
        {"answers": '{"both":-1,"dense":2,"slim":0,"neither":0}'},
        {"accuracy_slim": "0.5"},  # other than the counts say
        {"accuracy_dense": "nan"},
    ],
)
def test_counts_that_cannot_be_right_are_none(
    facts: Callable[..., Facts], changes: dict[str, Any]
) -> None:
    found = accuracy(facts(counts(580, 0, 9, 8), **changes), 1.0)
    assert found.outcome != "met"
    assert "no counts of answers" in found.evidence
