"""Climbs to the pruning ratio at which a pruner first keeps a *measured* latency."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgeprune.deploy.timing.statistics import Interval

STEPS = 16  # of the first climb: the multiples of 1/16 are where whole blocks fall off
FINEST = 1 / 256  # where the climb passes a limit, halves are tried down to this
TOGETHER = 4  # networks that are timed in one job


@dataclass
class Climb:
    """The ratios of one arm that were tried, and the latency each was measured at.

    Attributes:
        measure: Latency intervals of ratios.
        rungs: Ratio to interval; the interval is a screening until ``confirmed``.
        confirmed: Ratios measured with the usual number of epochs.
    """

    measure: Callable[[Sequence[float], bool], list[Interval]]
    rungs: dict[float, Interval] = field(default_factory=dict)
    confirmed: set[float] = field(default_factory=set)

    def up_to(self, lowest: float) -> None:
        """Raise the ratio step by step until the lowest limit is kept with some room."""
        ladder = [step / STEPS for step in range(1, STEPS)]
        for start in range(0, len(ladder), TOGETHER):
            self._screen(ladder[start : start + TOGETHER])
            if any(interval.mid <= 0.97 * lowest for interval in self.rungs.values()):
                return

    def fit(self, limit: float) -> float | None:
        """The smallest ratio whose measured latency is at most ``limit``; None if there is none.

        Latency does not fall steadily with the ratio: every step up to the first that fits has
        been measured, and what lies between the last two is halved.
        """
        while (first := self._first(limit)) is not None:
            below = max((ratio for ratio in self.rungs if ratio < first), default=0.0)
            if first - below > FINEST:
                self._screen([(first + below) / 2])
            elif first not in self.confirmed:
                (self.rungs[first],) = self.measure([first], True)
                self.confirmed.add(first)
            else:
                break
        return first

    @property
    def lowest(self) -> float:
        """The lowest latency that any ratio was measured at."""
        return min(interval.mid for interval in self.rungs.values())

    def _screen(self, ratios: Sequence[float]) -> None:
        if ratios:
            self.rungs.update(zip(ratios, self.measure(ratios, False), strict=True))

    def _first(self, limit: float) -> float | None:
        # The middle of the interval: a peer that sits on the limit is let through.
        return min((r for r, each in self.rungs.items() if each.mid <= limit), default=None)
