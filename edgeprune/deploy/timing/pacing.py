"""Planning of a measurement by running time: rounds and epochs that fit, or a longer limit.

One short epoch says what opening and running each model takes. Then an epoch is as thorough as
the time allows, and a measurement that cannot reach its first look is refused before it begins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeprune.deploy.devices.job import Epoch, Line
from edgeprune.errors import MachineError

# From small models, where noise inside an epoch dominates, to those of 100 ms and more, which
# one run warms up: there more sessions tell more than more rounds.
THOROUGH = (
    Epoch(open=(), sequence=(), rounds=16),
    Epoch(open=(), sequence=(), rounds=8),
    Epoch(open=(), sequence=(), rounds=4),
    Epoch(open=(), sequence=(), rounds=2, warmup=1, lead_in=0),
    Epoch(open=(), sequence=(), rounds=1, warmup=1, lead_in=0),
)
EPOCH_SECONDS = 1.0  # an epoch of more rounds is not worth a longer one
USUAL = 3  # a verdict usually takes no more than three times the epochs of the first look
SPARE = 1.2  # a machine may grow slower than its first epoch
OWN = "measure.max_seconds of the target"  # what a command without the option can raise
LONGEST = 600.0  # seconds to which a default limit is raised


@dataclass(frozen=True)
class Pace:
    """Wall time in seconds that one model takes: to open a session, and to run it once."""

    opening: float
    run: float

    def seconds(self, epoch: Epoch) -> float:
        """Wall time of this model in an epoch."""
        return self.opening + self.run * (
            epoch.warmup + epoch.burst * (epoch.lead_in + epoch.rounds)
        )


@dataclass(frozen=True)
class Plan:
    """A measurement that fits its time.

    Attributes:
        epoch: How thorough each epoch is; what it opens is left open.
        seconds: Wall time that an epoch is expected to take.
        max_seconds: No epoch is begun after so long.
        asked: The limit before it was raised for slow models.
    """

    epoch: Epoch
    seconds: float
    max_seconds: float
    asked: float

    @property
    def raised(self) -> str:
        """Says that the limit was raised; empty where it was not."""
        if self.max_seconds <= self.asked:
            return ""
        return (
            f"a session takes {self.seconds:.1f} s: the limit of {self.asked:.0f} s was raised "
            f"to {self.max_seconds:.0f} s"
        )


def pilot(count: int) -> Epoch:
    """The epoch that sets the pace of models 0 to ``count - 1``: each runs twice."""
    every = tuple(range(count))
    return Epoch(open=every, sequence=every, rounds=1, burst=1, warmup=1, lead_in=0)


def paces(line: Line) -> tuple[Pace, ...]:
    """The pace of each model, from the runner's line of a :func:`pilot`."""
    runs = [burst[0] for burst in line["samples"][0]]
    # The samples may be CPU time; the limit is wall time.
    waited = max(1.0, line["wall_ns"] / max(1, sum(runs)))
    return tuple(
        Pace(opened / 1e9, waited * run / 1e9)
        for opened, run in zip(line["opened_ns"], runs, strict=True)
    )


def plan(
    costs: Sequence[Pace],
    *,
    least: int,
    max_seconds: float,
    raisable: bool,
    thorough: Sequence[Epoch] = THOROUGH,
) -> Plan:
    """The most thorough epochs of which enough fit into the time.

    Args:
        costs: Pace of each model that an epoch runs.
        least: Epochs that the first look needs; 0 where any number will do.
        max_seconds: The limit.
        raisable: The limit is a default: raise it, where it is short for slow models.
        thorough: Kinds of epoch, the most thorough first.

    Raises:
        MachineError: not even the shortest epochs reach the first look.
    """

    def taking(epoch: Epoch) -> float:
        return sum(cost.seconds(epoch) for cost in costs)

    room = min(EPOCH_SECONDS, max_seconds / (USUAL * max(1, least)))
    chosen = next((epoch for epoch in thorough if taking(epoch) <= room), thorough[-1])
    found = Plan(chosen, taking(chosen), max_seconds, max_seconds)
    need = SPARE * least * found.seconds
    if need <= max_seconds:
        return found
    if raisable and need <= LONGEST:
        return replace(found, max_seconds=min(LONGEST, math.ceil(USUAL * need)))
    limit = max(max_seconds, LONGEST) if raisable else max_seconds
    raise short(limit, int(limit / found.seconds), least, need)


def short(seconds: float, reached: int, least: int, needed: float) -> MachineError:
    """The error for a time in which fewer than ``least`` sessions fit; ``needed`` is in s."""
    return MachineError(
        f"{seconds:g} s reach for {reached} of {least} sessions; "
        f"raise --max-seconds to about {rounded_up(needed)}, or {OWN}"
    )


def rounded_up(seconds: float) -> int:
    """Two digits of a number of seconds, never fewer seconds."""
    step = 10 ** max(0, math.ceil(math.log10(max(1.0, seconds))) - 2)
    return int(step * math.ceil(seconds / step))
