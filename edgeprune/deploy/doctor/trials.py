"""Times changes of a file in turn with the file as it is, as many as the time allows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.deploy.doctor.findings import Trial, Tried, tried, untried
from edgeprune.deploy.timing import pacing
from edgeprune.deploy.timing.pacing import Pace, Plan
from edgeprune.deploy.timing.protocol import Comparison, compare_many
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError, MachineError

WANTED = 6  # pairs of sessions a change: with four, an interval is still very wide
EPOCHS = 12  # pairs of sessions a change, where the time reaches for them
STARTING = 1.5  # seconds of a process on the device until its first session is open


@dataclass(frozen=True)
class Timed:
    """What timing some changes showed.

    Attributes:
        tried: One entry a change, in their order.
        comparisons: Those that were timed.
    """

    tried: tuple[Tried, ...]
    comparisons: tuple[Comparison, ...]


def run(
    trials: Sequence[Trial], path: Path, setting: Setting, pace: Pace, seconds: float
) -> Timed:
    """Time changes, the first ones where not all fit into ``seconds``.

    Args:
        trials: The changes, the most promising first.
        path: The file as it is.
        setting: How and where all are timed.
        pace: The file's pace; a changed one is taken to be as slow.
        seconds: How long all of it may take.
    """
    count, planned = _affordable(len(trials), pace, seconds - STARTING)
    late = f"{seconds:.0f} s reach for {count} of {len(trials)} changes; raise --max-seconds"
    rest = [untried(trial, late) for trial in trials[count:]]
    if planned is None:
        return Timed(tuple(rest), ())
    chosen = list(trials[:count])
    try:
        found = _together(chosen, path, setting, planned)
    except InputError:  # one of them: the others need not pay for it
        return _one_by_one(chosen, path, setting, planned, rest)
    except MachineError as error:  # it became too busy for them: what is known stays
        return Timed((*(untried(trial, str(error)) for trial in chosen), *rest), ())
    timed = [tried(trial, each) for trial, each in zip(chosen, found, strict=True)]
    return Timed((*timed, *rest), tuple(found))


def _together(
    trials: Sequence[Trial], path: Path, setting: Setting, planned: Plan
) -> list[Comparison]:
    models = [trial.model for trial in trials]
    return compare_many(models, path, setting, epochs=EPOCHS, planned=planned)


def _one_by_one(
    trials: Sequence[Trial], path: Path, setting: Setting, planned: Plan, rest: list[Tried]
) -> Timed:
    end = time.monotonic() + planned.max_seconds
    each, found, comparisons = planned.max_seconds / len(trials), list[Tried](), []
    for trial in trials:
        left = min(each, end - time.monotonic())
        try:
            one = _together([trial], path, setting, replace(planned, max_seconds=max(0.0, left)))
        except (InputError, MachineError) as error:
            found.append(untried(trial, str(error)))
            continue
        found.append(tried(trial, one[0]))
        comparisons += one
    return Timed((*found, *rest), tuple(comparisons))


def _affordable(count: int, pace: Pace, seconds: float) -> tuple[int, Plan | None]:
    """How many changes the time reaches for, and how thorough each epoch of theirs is."""
    for few in range(count, 0, -1):
        try:
            found = pacing.plan(
                (pace, pace), least=WANTED, max_seconds=max(0.0, seconds) / few, raisable=False
            )
        except MachineError:
            continue
        return few, replace(found, max_seconds=seconds, asked=seconds)
    return 0, None
