"""The time budget by hand: what is left, what is set aside, what there is time for."""

import pytest

from edgeprune.run.time_budget import CHECK_SECONDS, REFIT_STEPS, TimeBudget


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_without_a_budget_there_is_no_end(clock):
    time = TimeBudget(clock=clock)
    assert time.left == time.search_left() == float("inf")
    assert time.affordable(390, 39) == 390


def test_what_earlier_sessions_took_counts(clock):
    time = TimeBudget(seconds=600.0, used=200.0, clock=clock)
    clock.now += 30
    assert (time.spent, time.left) == (230.0, 370.0)
    assert time.to_plain() == {"budget": 600.0, "used": 230.0, "notes": []}


def test_the_search_has_what_the_rest_does_not_need(clock):
    time = TimeBudget(seconds=600.0, step_seconds=0.5, clock=clock)
    said = time.plan(training=100, distilling=40, refits=6)
    rest = 0.5 * (100 + 40 + 6 * REFIT_STEPS) + CHECK_SECONDS
    assert time.search_left() == pytest.approx(600 - rest)
    assert time.choosing_left() == 600 - 0.5 * 100 - CHECK_SECONDS
    assert "time budget 10 min 00 s, 10 min 00 s left: 8 min 11 s for scoring" in said
    assert "fine-tuning 50 s (100 steps of 0.50 s)" in said
    clock.now += 520
    assert time.search_left() < 0


@pytest.mark.parametrize(("models", "left"), [(1, 520.0), (3, 420.0), (0, 520.0)])
def test_every_model_that_is_to_come_is_fine_tuned(clock, models, left):
    time = TimeBudget(seconds=600.0, step_seconds=0.5, models=models, clock=clock)
    assert ("3 x " in time.plan(training=100, distilling=0, refits=0)) == (models == 3)
    assert time.search_left() == left


def test_no_time_to_search_is_said(clock):
    time = TimeBudget(seconds=60.0, step_seconds=1.0, clock=clock)
    assert "no time for more than the rules" in time.plan(training=100, distilling=0, refits=0)


def test_a_fine_tuning_has_the_steps_that_there_is_time_for_and_never_too_few(clock):
    time = TimeBudget(seconds=120.0, step_seconds=1.0, clock=clock)
    assert time.affordable(390, 39) == 90
    assert time.affordable(50, 5) == 50
    clock.now += 90
    assert time.affordable(390, 39) == 39


def test_an_overdrawn_budget_is_told(clock):
    time = TimeBudget(seconds=120.0, clock=clock, notes=["shortened"])
    assert time.told() == ["shortened"]
    clock.now += 150
    assert time.told()[1].startswith("the run took 2 min 30 s, its budget was 2 min 00 s")
