"""A model against itself: what a machine can resolve, and when it cannot gate."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.gate.resolution import self_test
from edgeprune.errors import MachineError
from edgeprune.target import TargetProfile

PROFILE = TargetProfile.model_validate({"schema": 1, "name": "t"})


@pytest.mark.parametrize(
    ("ratios", "code", "words"),
    [
        ([1.0], 0, "this machine can gate: it tells apart ratios 0.5% from a limit"),
        ([0.98, 1.02] * 16, 0, "this machine can gate"),
        ([0.8, 1.25] * 16, 3, "this machine cannot gate"),
        ([1.02], 3, "this machine cannot gate"),  # it leans to one side
    ],
)
def test_self_test(
    record: Callable[..., Any],
    files: tuple[Path, Path],
    ratios: list[float],
    code: int,
    words: str,
) -> None:
    found = self_test(files[0], PROFILE, Options(device=record(ratios=ratios)))
    assert found.exit_code == code
    assert words in found.to_text()
    assert list(found.settles) == [4, 6, 8, 12, 16, 24, 32]
    body = json.loads(found.to_json())
    assert body["schema"] == "edgeprune.self-test/1"
    assert len(body["comparison"]["epochs"]) == 32


def test_a_short_time_says_what_it_reached(
    record: Callable[..., Any], files: tuple[Path, Path]
) -> None:
    device = record(ratios=[1.0], seconds=10.0)
    found = self_test(files[0], PROFILE, Options(device=device, now=lambda: device.clock))
    assert list(found.settles) == [4, 6]


def test_too_little_time(record: Callable[..., Any], files: tuple[Path, Path]) -> None:
    words = r"^10 s reach for 3 of 4 sessions; raise --max-seconds to about 15, or "
    with pytest.raises(MachineError, match=words):
        self_test(files[0], PROFILE, Options(device=record(run_seconds=0.5), max_seconds=10))
