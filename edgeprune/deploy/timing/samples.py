"""Raw samples of a measurement: paired epochs, one model's latency, the machine's health."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from edgeprune.deploy.devices.job import Line
from edgeprune.deploy.timing.statistics import Interval, mean_interval, percentile

Bursts = tuple[tuple[int, ...], ...]
# Growth over an epoch, as the runner reads it; the load beside them is a level.
COUNTERS = ("cpu_ns", "wall_ns", "ticks", "steal_ticks", "throttled_us")


@dataclass(frozen=True)
class PairedEpoch:
    """One epoch of candidate and reference, run in turn.

    Attributes:
        candidate: Times in ns, (rounds, burst).
        reference: Times of the reference in ns, (rounds, burst).
        machine: Growth of the counters of the machine over the epoch, and its load.
    """

    candidate: Bursts
    reference: Bursts
    machine: dict[str, float]

    @classmethod
    def of(cls, line: Line, candidate: int) -> "PairedEpoch":
        """Read a runner's line in which ``candidate`` is the candidate's place in a round."""
        rounds = line["samples"]  # (rounds, 2 models, burst)
        first = tuple(tuple(row[candidate]) for row in rounds)
        second = tuple(tuple(row[1 - candidate]) for row in rounds)
        return cls(first, second, counted(line))

    @property
    def value(self) -> float:
        """Median over the rounds of log(fastest candidate run / fastest reference run)."""
        # The fastest run of a burst, as preemption only ever adds time.
        pairs = zip(self.candidate, self.reference, strict=True)
        return median(math.log(min(ours) / min(theirs)) for ours, theirs in pairs)


@dataclass(frozen=True)
class LatencyReport:
    """The latency of one model on one machine; everything is derived from the raw samples.

    Attributes:
        epochs_ns: Every timed run in ns, one row an epoch (fresh session).
        clock: ``cpu`` or ``wall``.
        machine: The device's facts; ``fingerprint.identify`` names it.
        counters: Growth of the machine's counters over each epoch, where they are known.
    """

    epochs_ns: tuple[tuple[int, ...], ...]
    clock: str
    machine: dict[str, Any]
    counters: tuple[dict[str, float], ...] = ()

    def joined(self, other: "LatencyReport") -> "LatencyReport":
        """Both as one, measured one after the other on the same machine."""
        epochs, counters = self.epochs_ns + other.epochs_ns, self.counters + other.counters
        return LatencyReport(epochs, self.clock, self.machine, counters)

    @property
    def health(self) -> "Health | None":
        """How quiet the machine was, where its counters are known."""
        if not self.counters:
            return None
        times = [ns for row in self.epochs_ns for ns in row]
        return Health.from_counters(self.counters, times, self.clock)

    @property
    def samples_ms(self) -> list[float]:
        """Every timed run in ms, in order."""
        return [ns / 1e6 for row in self.epochs_ns for ns in row]

    @property
    def median_ms(self) -> float:
        """Median of all runs in ms."""
        return percentile(self.samples_ms, 50)

    @property
    def p90_ms(self) -> float:
        """90th percentile of all runs in ms."""
        return percentile(self.samples_ms, 90)

    @property
    def interval_ms(self) -> Interval:
        """95 % interval of the epochs' mean median: sessions differ, so they are the unit.

        With a single epoch it is the range of the samples.
        """
        if len(self.epochs_ns) < 2:  # no spread between sessions to be seen
            every = self.samples_ms
            return Interval(min(every), median(every), max(every))
        return mean_interval([median(row) / 1e6 for row in self.epochs_ns], alpha=0.05)

    def summary(self) -> dict[str, float]:
        """Median, p90, p99 and the interval, in ms."""
        low, _, high = self.interval_ms
        p99 = percentile(self.samples_ms, 99)
        names = ("median_ms", "p90_ms", "p99_ms", "low_ms", "high_ms")
        return dict(zip(names, (self.median_ms, self.p90_ms, p99, low, high), strict=True))


def latency(
    bursts: Iterable[Bursts],
    clock: str,
    machine: dict[str, Any],
    counters: Iterable[dict[str, float]] = (),
) -> LatencyReport:
    """A report from the (rounds, burst) times of each epoch."""
    rows = tuple(tuple(ns for burst in epoch for ns in burst) for epoch in bursts)
    return LatencyReport(rows, clock, machine, tuple(counters))


def counted(line: Line) -> dict[str, float]:
    """What a runner's epoch line says about the machine."""
    return {key: line[key] for key in (*COUNTERS, "load")}


@dataclass(frozen=True, kw_only=True)
class Health:
    """How quiet the machine was while it measured; printed always, never a verdict by itself.

    Attributes:
        preempted: Share of wall time that the timing thread did not run; None with many threads.
        steal: Share of processor time the hypervisor took for other guests.
        modes: p90 / p10 of one model's own times (the reference's, where there is one); 2 means
            it ran at two speeds.
        throttled_ms: Time the container's CPU quota stopped us.
        load: Highest load average seen.
    """

    preempted: float | None
    steal: float
    modes: float
    throttled_ms: float
    load: float

    @classmethod
    def of(cls, epochs: Sequence[PairedEpoch], clock: str) -> "Health":
        """Sum the counters over the epochs; at least one epoch."""
        times = [min(burst) for epoch in epochs for burst in epoch.reference]
        return cls.from_counters([epoch.machine for epoch in epochs], times, clock)

    @classmethod
    def from_counters(
        cls, counters: Sequence[dict[str, float]], times: Sequence[float], clock: str
    ) -> "Health":
        """Sum the counters of every epoch; ``times`` are those of one model in all of them."""
        total = {key: sum(epoch[key] for epoch in counters) for key in COUNTERS}
        lost = max(0.0, 1 - total["cpu_ns"] / total["wall_ns"]) if clock == "cpu" else None
        return cls(
            preempted=lost,
            steal=total["steal_ticks"] / max(1, total["ticks"]),
            modes=percentile(times, 90) / percentile(times, 10),
            throttled_ms=total["throttled_us"] / 1e3,
            load=max(epoch["load"] for epoch in counters),
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against trusting an undecided result; empty on a quiet machine."""
        found = []
        if self.steal > 0.05:
            found.append(f"the hypervisor took {self.steal:.0%} of the processor")
        if self.modes > 2:
            found.append(f"the same model ran at two speeds ({self.modes:.1f}x apart)")
        if self.throttled_ms > 0:
            found.append(f"the CPU quota stopped us for {self.throttled_ms:.0f} ms")
        return tuple(found)
