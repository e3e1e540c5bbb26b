"""Many small models on a machine that changes its speed, without a clock."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgeprune.deploy.devices.job import Job, Line
from edgeprune.deploy.table.stopwatch import Pace, machine_of, time_units
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import MachineError

REFERENCE = b"0"
TIMES = {b"0": 100_000, b"1": 20_000, b"2": 55_000, b"3": 400_000}


@dataclass
class Moody:
    """Times are known; in some epochs a neighbour makes small models lose more than large ones."""

    slow_epochs: frozenset[int] = frozenset()
    slow_with: tuple[bytes, int] = (b"", 0)  # slow where this model runs, in so many jobs
    cold: float = 1.1
    jobs: list[Job] = field(default_factory=list)
    seen: int = 0
    uri: str = "moody://"

    def run(self, job: Job) -> Iterator[Line]:
        self.jobs.append(job)
        yield {"kind": "machine", "machine": {"cpu": "Test"}}
        for number, epoch in enumerate(job.epochs):
            model, times = self.slow_with
            slow = self.seen in self.slow_epochs
            slow |= len(self.jobs) <= times and model in [job.models[m] for m in epoch.open]
            self.seen += 1
            own = [TIMES[bytes(job.models[m])] for m in epoch.open]  # type: ignore[arg-type]
            row = []
            for place in epoch.sequence:
                time = own[place] * 1.4 + 20_000 if slow else own[place]
                row.append([round(time * self.cold)] + [round(time)] * (epoch.burst - 1))
            yield {"kind": "epoch", "epoch": number, "samples": [row] * epoch.rounds}


def measure(
    device: Moody, fast_ms: float = math.inf, **pace: int
) -> tuple[np.ndarray, np.ndarray, float, int]:
    steps = []
    times = time_units(
        [b"1", b"2", b"3"],
        REFERENCE,
        Setting(device=device),
        Pace(**pace),
        lambda step, done, planned: steps.append((done, planned)),
        fast_ms,
    )
    assert steps[-1][0] == steps[-1][1] == sum(len(job.epochs) for job in device.jobs)
    assert all(done <= planned for done, planned in steps)
    return times.hot, times.cold, times.reference_ms, times.doubtful


def test_times_are_ratios_to_the_reference() -> None:
    hot, cold, reference_ms, doubtful = measure(Moody())
    assert hot == pytest.approx([0.2, 0.55, 4.0])
    assert cold == pytest.approx([0.22, 0.605, 4.4])
    assert reference_ms == pytest.approx(0.1)
    assert doubtful == 0


@pytest.mark.parametrize(
    ("slow", "fast_ms"), [({0}, math.inf), ({1}, math.inf), ({0, 1}, 0.1), ({0, 1, 3}, 0.101)]
)
def test_only_undisturbed_runs_count(slow: set[int], fast_ms: float) -> None:
    """A plain ratio would read 0.3 instead of 0.2 in a slow epoch."""
    device = Moody(frozenset(slow))
    hot, _, reference_ms, doubtful = measure(device, fast_ms)
    assert hot == pytest.approx([0.2, 0.55, 4.0])
    assert reference_ms == pytest.approx(0.1)
    assert doubtful == 0
    assert device.seen >= 2 + (0 in slow and 1 in slow)


def test_starved_units_are_timed_again_and_only_these() -> None:
    device = Moody(slow_with=(b"3", 2))
    hot, *_ = measure(device, together=1)
    timed = [{m for epoch in job.epochs for m in epoch.open} for job in device.jobs]
    assert timed[0] == timed[1] == {0, 1, 2, 3, 4}  # 4 is the control copy of the reference
    assert timed[2:] == [{0, 3, 4}]
    assert hot == pytest.approx([0.2, 0.55, 4.0])


def test_a_machine_that_is_never_quiet_still_gives_times_and_says_so() -> None:
    device = Moody(frozenset(range(1, 99)))
    hot, _, _, doubtful = measure(device, together=1, most=3)
    assert doubtful == 2
    assert hot == pytest.approx([0.2, 0.55, 4.0], rel=0.6)


def test_every_unit_runs_between_two_references() -> None:
    device = Moody()
    measure(device, together=2)
    for job in device.jobs:
        assert job.models[0] == job.models[-1] == REFERENCE
        for epoch in job.epochs:
            assert epoch.sequence[::2] == (0,) * (len(epoch.sequence) // 2 + 1)
            assert sorted(epoch.sequence[1::2]) == list(range(1, len(epoch.open)))
            assert epoch.open[0] == 0


def test_the_order_is_drawn_from_the_seed() -> None:
    first, second, other = Moody(), Moody(), Moody()
    for device, seed in ((first, 1), (second, 1), (other, 2)):
        measure(device, seed=seed)
    assert first.jobs[0].epochs == second.jobs[0].epochs
    assert first.jobs[0].epochs != other.jobs[0].epochs


def test_a_device_that_says_nothing_is_one_line() -> None:
    class Mute(Moody):
        def run(self, job: Job) -> Iterator[Line]:
            return (line for line in ())

    with pytest.raises(MachineError, match="did not say"):
        machine_of(Setting(device=Mute()))
