"""Changes are timed in turn with the file, the first ones where not all fit into the time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.devices.job import Job
from edgeprune.deploy.doctor import trials
from edgeprune.deploy.doctor.findings import Trial
from edgeprune.deploy.timing.pacing import Pace
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError

FILE = Path("model.onnx")
QUICK = Pace(0.01, 0.0001)


def changes(count: int) -> list[Trial]:
    return [Trial(change=f"change {number}", model=b"%d" % number) for number in range(count)]


def run(device: Any, count: int, seconds: float = 60.0, pace: Pace = QUICK) -> trials.Timed:
    return trials.run(changes(count), FILE, Setting(device=device), pace, seconds)


@pytest.mark.parametrize(
    ("ratio", "status"), [(0.5, "saves"), (1.5, "costs"), (1.0, "inconclusive")]
)
def test_a_change_saves_or_costs_or_neither(
    record: Callable[..., Any], ratio: float, status: str
) -> None:
    (found,) = run(record(ratios=[ratio]), 1).tried
    assert found.status == status
    assert found.ratio is not None
    assert found.saved_ms is not None
    assert found.ratio.mid == pytest.approx(ratio)
    low, saved, high = found.saved_ms
    assert low <= saved <= high
    # The median takes all runs of a burst, of which the recorded device makes one slower.
    assert saved == pytest.approx(1 - ratio, rel=0.01, abs=1e-9)
    assert found.epochs == trials.EPOCHS


def test_changes_keep_their_order(record: Callable[..., Any]) -> None:
    found = run(record(ratios=[0.5, 0.9, 1.4] * trials.EPOCHS), 3).tried
    assert [each.change for each in found] == ["change 0", "change 1", "change 2"]
    assert [each.status for each in found] == ["saves", "saves", "costs"]


def test_what_the_time_does_not_reach_for_is_said(record: Callable[..., Any]) -> None:
    found = run(record(), 8, seconds=30.0, pace=Pace(0.1, 0.1)).tried
    assert [each.status for each in found].count("untried") == 8 - [
        each.status for each in found
    ].count("saves")
    assert found[0].status == "saves"
    assert found[-1].status == "untried"
    assert "raise --max-seconds" in found[-1].describe()


def test_a_time_for_none_tries_none(record: Callable[..., Any]) -> None:
    device = record()
    found = run(device, 2, seconds=2.0, pace=Pace(1.0, 1.0))
    assert [each.status for each in found.tried] == ["untried"] * 2
    assert device.jobs == []


def test_one_that_is_refused_leaves_the_others(record: Callable[..., Any]) -> None:
    device = record(ratios=[0.5])
    whole = device.run

    def refusing(job: Job) -> Any:
        if b"1" in job.models:
            raise InputError("onnxruntime cannot take the model")
        return whole(job)

    device.run = refusing
    found = run(device, 3).tried
    assert [each.status for each in found] == ["saves", "untried", "saves"]
    assert "cannot take" in found[1].describe()
