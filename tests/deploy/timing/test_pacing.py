"""Plans by running time: what fits, what is raised and what is refused."""

import pytest

from edgeprune.deploy.timing.pacing import LONGEST, THOROUGH, Pace, paces, pilot, plan, rounded_up
from edgeprune.errors import MachineError

FAST, SLOW = Pace(0.01, 0.001), Pace(0.2, 5.0)


def test_the_first_epoch_runs_each_model_twice_and_times_one_run() -> None:
    epoch = pilot(2)
    assert (epoch.open, epoch.sequence) == ((0, 1), (0, 1))
    assert (epoch.warmup, epoch.lead_in, epoch.rounds, epoch.burst) == (1, 0, 1, 1)


def test_paces_are_wall_time() -> None:
    line = {
        "opened_ns": [5_000_000, 7_000_000],
        "samples": [[[1_000_000], [3_000_000]]],  # CPU time, at half the processor
        "wall_ns": 8_000_000,
    }
    assert paces(line) == (Pace(0.005, 0.002), Pace(0.007, 0.006))


@pytest.mark.parametrize(("kind", "runs"), [(0, 37), (1, 21), (2, 13), (3, 5), (4, 3)])
def test_an_epoch_is_opening_and_all_its_runs(kind: int, runs: int) -> None:
    assert Pace(0.5, 1.0).seconds(THOROUGH[kind]) == 0.5 + runs


@pytest.mark.parametrize(
    ("pace", "seconds", "rounds"),
    [(FAST, 60, 16), (FAST, 1.0, 8), (FAST, 0.25, 1), (Pace(0.1, 0.05), 60, 2), (SLOW, 900, 1)],
)
def test_an_epoch_is_as_thorough_as_the_time_allows(
    pace: Pace, seconds: float, rounds: int
) -> None:
    found = plan([pace] * 2, least=4, max_seconds=seconds, raisable=False)
    assert found.epoch.rounds == rounds
    assert found.raised == ""
    assert 1.2 * 4 * found.seconds <= found.max_seconds == seconds


def test_a_default_is_raised_and_a_wish_is_not() -> None:
    found = plan([SLOW] * 2, least=4, max_seconds=60, raisable=True)
    assert found.max_seconds == 438  # three times what the first look takes
    assert found.raised == "a session takes 30.4 s: the limit of 60 s was raised to 438 s"
    with pytest.raises(
        MachineError,
        match=r"^60 s reach for 1 of 4 sessions; .* about 150, or ",
    ):
        plan([SLOW] * 2, least=4, max_seconds=60, raisable=False)


def test_a_default_is_not_raised_for_ever() -> None:
    slower = Pace(0.0, 30.0)
    with pytest.raises(
        MachineError,
        match=r"^600 s reach for 3 of 4 sessions; .* about 870, or ",
    ):
        plan([slower] * 2, least=4, max_seconds=60, raisable=True)
    assert (
        plan([Pace(0.0, 20.0)] * 2, least=4, max_seconds=60, raisable=True).max_seconds == LONGEST
    )


def test_any_number_of_epochs_may_do() -> None:
    assert plan([SLOW], least=0, max_seconds=1, raisable=False).epoch == THOROUGH[-1]


@pytest.mark.parametrize(
    ("seconds", "rounded"), [(0.2, 1), (9.1, 10), (87.2, 88), (130.0, 130), (131.0, 140)]
)
def test_seconds_to_ask_for(seconds: float, rounded: int) -> None:
    assert rounded_up(seconds) == rounded
