"""Self-test of the gate: the smallest latency difference that this machine can resolve."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.timing.protocol import Comparison, compare_many
from edgeprune.deploy.timing.sequential import ALPHA, FLOOR, LOOKS, OVERALL
from edgeprune.deploy.timing.statistics import Interval, mean_interval
from edgeprune.target import TargetProfile

USABLE = 1.05  # a gate that does not resolve 5 % says nothing


@dataclass(frozen=True)
class SelfTest:
    """A comparison of a model with itself: whatever differs is the machine.

    Attributes:
        ratio: Interval of the model's time over its own time; should hold 1.
        resolvable: Smallest ratio over 1 that the longest check would call missed.
        settles: Smallest ratio that is settled at each look, by the look's number of epochs.
        comparison: The measurement.
    """

    ratio: Interval
    resolvable: float
    settles: dict[int, float]
    comparison: Comparison

    @property
    def exit_code(self) -> int:
        """0, or 3 when this machine cannot measure: it leans, or resolves less than 5 %."""
        return 0 if self.ratio.low <= 1 <= self.ratio.high and self.resolvable < USABLE else 3

    def to_json(self) -> str:
        """Schema ``edgeprune.self-test/1``, raw samples included."""
        body = {
            "schema": "edgeprune.self-test/1",
            "ratio": list(self.ratio),
            "resolvable": self.resolvable,
            "settles": self.settles,
            "exit_code": self.exit_code,
            "health": asdict(self.comparison.health),
            "comparison": asdict(self.comparison),
        }
        return json.dumps(body, separators=(",", ":")) + "\n"

    def to_text(self) -> str:
        """The result and its meaning for a terminal, one fact a line."""
        health, comparison = self.comparison.health, self.comparison
        verdict = "this machine can gate" if not self.exit_code else "this machine cannot gate"
        steps = ", ".join(f"{n} epochs {ratio - 1:.1%}" for n, ratio in self.settles.items())
        low, mid, high = self.ratio
        lines = [
            f"{verdict}: it tells apart ratios {self.resolvable - 1:.1%} from a limit",
            f"a model against itself reads {mid:.4f} [{low:.4f}, {high:.4f}]",
            f"differences that are settled after: {steps}",
            f"machine: {identify(comparison.machine)}, {comparison.clock} clock, "
            f"{comparison.seconds:.1f} s",
            *(f"not quiet: {doubt}" for doubt in health.doubts),
        ]
        return "\n".join(lines) + "\n"


def self_test(path: Path, profile: TargetProfile, options: Options | None = None) -> SelfTest:
    """Time a model against itself for the longest that a check would take.

    Raises:
        InputError: not a model that can be timed.
        MachineError: the device cannot measure, or the time reached for too few epochs.
    """
    options = options or Options()
    facts = read(path, profile.input)
    model, setting = facts.model, options.setting(profile, facts.inputs, facts.values)
    comparison = compare_many([model], model, setting, epochs=LOOKS[-1], least=LOOKS[0])[0]
    values = [epoch.value for epoch in comparison.epochs]
    looks = [look for look in LOOKS if look <= len(values)]
    ratio = Interval(*map(math.exp, mean_interval(values, OVERALL, FLOOR)))
    # Intervals of the log ratio, as the gate takes them.
    logs = {look: mean_interval(values[:look], ALPHA, FLOOR) for look in looks}
    settles = {look: math.exp(log.high - log.mid) for look, log in logs.items()}
    return SelfTest(ratio, settles[looks[-1]], settles, comparison)
