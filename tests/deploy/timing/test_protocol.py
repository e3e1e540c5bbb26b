"""The measuring protocol on recorded samples: every verdict, no clock."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgeprune.deploy.timing.pacing import Pace
from edgeprune.deploy.timing.protocol import (
    compare,
    compare_many,
    measure,
)
from edgeprune.deploy.timing.sequential import LOOKS
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import Interval, mean_interval
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

Record = Callable[..., Any]


def test_compare_stops_the_device_at_the_look_that_settles_it(record: Record) -> None:
    device = record(ratios=[0.6])
    found = compare(b"slim", b"dense", Setting(device=device), limit=0.7)
    assert len(found.epochs) == 4
    assert found.decide(0.7).status == "met"
    assert found.ratio == pytest.approx(0.6)
    assert found.candidate.median_ms == pytest.approx(0.6)
    assert found.reference.p90_ms == pytest.approx(1.001)
    assert found.machine == device.machine


def test_compare_gives_up_at_the_cap(record: Record) -> None:
    found = compare(b"a", b"b", Setting(device=record(ratios=[1.0])), limit=1.0)
    assert len(found.epochs) == LOOKS[-1]
    assert found.decide(1.0).status == "inconclusive"


def test_compare_gives_up_after_max_seconds(record: Record) -> None:
    device = record(ratios=[0.7], seconds=1.0)
    setting = Setting(device=device, max_seconds=5, now=lambda: device.clock)
    found = compare(b"a", b"b", setting, limit=0.7)
    assert len(found.epochs) == 5
    assert found.decide(0.7).status == "inconclusive"
    assert found.decide(0.7).ratio is not None


def test_a_time_that_reaches_for_fewer_epochs_than_a_look_is_an_error(record: Record) -> None:
    device = record(ratios=[1.8], seconds=30.0)  # slower than the first run let expect
    setting = Setting(device=device, now=lambda: device.clock)
    words = r"^60 s reach for 2 of 4 sessions; raise --max-seconds to about 150, or "
    with pytest.raises(MachineError, match=words):
        compare(b"a", b"b", setting, limit=1.05)


def test_a_model_that_is_too_slow_is_refused_before_it_is_timed(record: Record) -> None:
    device = record(run_seconds=5.0)
    words = r"^60 s reach for 2 of 4 sessions; raise --max-seconds to about 150, or "
    with pytest.raises(MachineError, match=words):
        compare(b"a", b"b", Setting(device=device), limit=0.7)
    assert device.timed == []


def test_a_default_limit_is_raised_for_a_slow_model(record: Record) -> None:
    device = record(run_seconds=5.0, ratios=[0.6])
    found = compare(b"a", b"b", Setting(device=device, raisable=True), limit=0.7)
    assert found.decide(0.7).status == "met"
    assert found.plan.max_seconds == 432
    assert "the limit of 60 s was raised to 432 s" in found.plan.raised
    assert device.timed[0].timeout == 864


def test_a_known_pace_is_not_measured_again(record: Record) -> None:
    device = record()
    compare(b"a", b"b", Setting(device=device, paces=(Pace(0.0, 0.001),) * 2), limit=0.7)
    assert len(device.jobs) == 1


def test_one_epoch_has_no_interval(record: Record) -> None:
    found = compare(b"a", b"b", Setting(device=record(), max_seconds=0))
    assert found.interval is None
    assert found.decide(0.7).ratio is None


def test_an_interval_is_wider_where_a_limit_was_looked_at_again_and_again(record: Record) -> None:
    ratios = [0.99, 1.01] * 40
    once = compare(b"a", b"b", Setting(device=record(ratios=ratios))).interval
    often = compare(b"a", b"b", Setting(device=record(ratios=ratios)), limit=1.0).interval
    assert once is not None
    assert often is not None
    assert once == pytest.approx(mean_99(ratios[:12]))


def mean_99(ratios: list[float]) -> tuple[float, ...]:
    log = mean_interval([math.log(ratio) for ratio in ratios], 0.01, 0.005)
    return tuple(map(math.exp, log))


def test_orders_are_drawn_anew_each_epoch_and_repeat_with_the_seed(record: Record) -> None:
    jobs = []
    for seed in (0, 0, 1):
        device = record(ratios=[1.0])
        compare(b"a", b"b", Setting(device=device, seed=seed), limit=1.0)
        jobs.append(device.timed[0].epochs)
    assert jobs[0] == jobs[1]
    assert jobs[0] != jobs[2]
    assert {epoch.open for epoch in jobs[0]} == {(0, 1), (1, 0)}
    assert {epoch.sequence for epoch in jobs[0]} == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("seconds", "rounds", "warmup"),
    [(0.001, 16, 3), (0.013, 16, 3), (0.014, 8, 3), (0.03, 4, 3), (0.05, 2, 1), (0.3, 1, 1)],
)
def test_slower_models_run_fewer_rounds(
    record: Record, seconds: float, rounds: int, warmup: int
) -> None:
    device = record(run_seconds=seconds)
    compare(b"a", b"b", Setting(device=device), limit=0.7)
    assert {epoch.rounds for epoch in device.timed[0].epochs} == {rounds}
    assert {epoch.warmup for epoch in device.timed[0].epochs} == {warmup}


def test_many_candidates_take_turns_in_one_process(record: Record) -> None:
    device = record(ratios=[0.5, 0.8] * 12)
    found = compare_many([b"a", b"b"], b"dense", Setting(device=device))
    assert [round(each.ratio, 6) for each in found] == [0.5, 0.8]
    assert [len(each.epochs) for each in found] == [12, 12]
    assert len(device.timed) == 1


def test_many_candidates_need_one_epoch_each(record: Record) -> None:
    setting = Setting(device=record(), max_seconds=0)
    with pytest.raises(MachineError, match="one epoch of each"):
        compare_many([b"a", b"b"], b"dense", setting)


def test_measure_times_one_model(record: Record) -> None:
    report = measure(b"a", Setting(device=record(ratios=[2.0])), epochs=3)
    assert len(report.epochs_ns) == 3
    assert len(report.samples_ms) == 3 * 16 * 2
    assert report.median_ms == pytest.approx(2.0)
    assert report.interval_ms == pytest.approx((2.0005, 2.0005, 2.0005))
    assert report.summary()["p99_ms"] == pytest.approx(2.001)


def test_a_device_without_epochs_is_an_error(record: Record) -> None:
    with pytest.raises(MachineError, match="measured nothing"):
        measure(b"a", Setting(device=record()), epochs=0)


@pytest.mark.parametrize(
    ("runtime", "asked", "used"),
    [
        (Runtime(), "auto", "cpu"),
        (Runtime(), "wall", "wall"),
        (Runtime(threads=4), "auto", "wall"),
        (Runtime(providers=("CUDAExecutionProvider", "CPUExecutionProvider")), "auto", "wall"),
    ],
)
def test_clock(runtime: Runtime, asked: Any, used: str) -> None:
    assert Setting(runtime=runtime, clock=asked).used_clock == used


def test_the_thread_clock_cannot_see_other_threads() -> None:
    with pytest.raises(InputError, match=r"measure\.clock"):
        replace(Setting(runtime=Runtime(threads=2)), clock="cpu").used_clock  # noqa: B018


def test_interval_of_a_comparison_holds_the_ratio(record: Record) -> None:
    found = compare(b"a", b"b", Setting(device=record(ratios=[0.5, 0.52] * 6)))
    assert isinstance(found.interval, Interval)
    assert found.interval.low < 0.5099 < found.interval.high
    assert len(found.epochs) == 12
