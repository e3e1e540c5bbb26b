"""Times many small models on a device beside a reference unit that says when it was disturbed.

A shared machine changes speed while it measures (a neighbour on the sibling core, another
frequency), and a small model loses more by it than a large one, so a ratio to a reference does
not take it out. Instead a reference runs before and after every unit, and only those runs count
around which the reference was as fast as it ever is. Units that got too few such runs are timed
again. Control copies of the reference, run as rarely as the units, take out what rarity costs.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from edgeprune.arrays import Floats
from edgeprune.deploy.devices.job import Epoch, Line
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import MachineError
from edgeprune.progress import Progress

FAST = 1.05  # a reference slower than this times its fastest was disturbed
FASTEST_SHARE = 0.1  # quantile that stands for the reference's fastest: a minimum is one lucky run
LOW = 0.1  # quantile that stands for a unit's time: disturbance only adds
ENOUGH = 6  # undisturbed runs of a unit; fewer leave its quantile to one of them


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How thoroughly a set of units is timed.

    Attributes:
        together: Units that are open and run in turn at once.
        rounds: Turns of each unit in one session.
        burst: Runs in a row each turn; the fastest counts, as in a network that runs often.
        least: Sessions of every unit.
        most: Sessions of a unit that did not get enough undisturbed runs.
        seed: Seed of the order the units come in.
    """

    together: int = 16
    rounds: int = 8
    burst: int = 3
    least: int = 2
    most: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Times:
    """What a set of units took, in times of the reference.

    Attributes:
        hot: Fastest run of a burst, with the unit's own weights in the cache (N,).
        cold: First run of a burst, after all others have had their turn (N,).
        reference_ms: Time of the reference while the device was fast.
        doubtful: Units without enough runs while the device was fast.
    """

    hot: Floats
    cold: Floats
    reference_ms: float
    doubtful: int


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One turn of a unit: its runs, and the slower of the references around it, in ns."""

    unit: int
    hot: float
    cold: float
    around: float


def machine_of(setting: Setting) -> dict[str, object]:
    """The facts of the device; nothing is timed there.

    Raises:
        MachineError: it cannot be reached.
    """
    with closing(setting.device.run(setting.job((), ()))) as lines:
        for line in lines:
            if line["kind"] == "machine":
                return dict(line["machine"])
    raise MachineError(f"{setting.device.uri} did not say what machine it is")


def time_units(
    units: Sequence[bytes],
    reference: bytes,
    setting: Setting,
    pace: Pace,
    progress: Progress,
    fast_ms: float = math.inf,
) -> Times:
    """Time ``units``, ONNX files, against ``reference``.

    Args:
        units: The models.
        reference: A model of about 0.1 ms to 1 ms; its own copies are the control.
        setting: Device, clock and runtime.
        pace: How thoroughly units are timed.
        progress: Called after every epoch with the epochs done and those planned so far.
        fast_ms: The reference's time when the device was fast before, if that is known.

    Raises:
        MachineError: the device cannot measure.
        InputError: the device's onnxruntime does not take one of the units.
    """
    models = (reference, *units, reference)
    control = len(units)
    random = np.random.default_rng(pace.seed)
    runs: list[_Run] = []
    wanted = list(range(len(units)))
    done = 0
    for session in range(pace.most):
        epochs = [
            _epoch([*some, control], pace, random) for some in _batches(wanted, pace, random)
        ]
        with closing(setting.device.run(setting.job(models, epochs))) as lines:
            for line in lines:
                if line["kind"] == "epoch":
                    runs += _read(epochs[line["epoch"]], line)
                    done += 1
                    planned = len(epochs) * max(1, pace.least - session) - line["epoch"] - 1
                    progress("timing units", done, done + max(0, planned))
        if session + 1 >= pace.least:
            wanted = _starved(runs, len(units), _fast(runs, fast_ms))
        if not wanted:
            break
    return _times(runs, len(units), _fast(runs, fast_ms))


def _batches(units: Sequence[int], pace: Pace, random: np.random.Generator) -> list[list[int]]:
    """Shuffled units in batches of about ``together``."""
    batches = np.array_split(random.permutation(units), -(-len(units) // pace.together))
    return [[int(unit) for unit in batch] for batch in batches]


def _epoch(units: Sequence[int], pace: Pace, random: np.random.Generator) -> Epoch:
    """The reference is model 0 and runs before and after every unit."""
    order = random.permutation(len(units)) + 1
    sequence = [0, *(int(place) for unit in order for place in (unit, 0))]
    opened = (0, *(unit + 1 for unit in units))
    return Epoch(open=opened, sequence=tuple(sequence), rounds=pace.rounds, burst=pace.burst)


def _read(epoch: Epoch, line: Line) -> Iterator[_Run]:
    samples = np.array(line["samples"], np.float64)  # (rounds, positions, burst)
    hot, cold = samples.min(axis=2), samples[:, :, 0]  # (rounds, positions) each
    # The sequence is reference, unit, reference, unit, ..., reference.
    around = np.maximum(hot[:, :-2:2], hot[:, 2::2])  # (rounds, units)
    rounds = np.stack([hot[:, 1::2], cold[:, 1::2], around], axis=2)  # (rounds, units, 3)
    for place, position in enumerate(epoch.sequence[1::2]):
        for fastest, first, slower in rounds[:, place].tolist():
            yield _Run(unit=epoch.open[position] - 1, hot=fastest, cold=first, around=slower)


def _fast(runs: Sequence[_Run], before_ms: float) -> float:
    """The reference's time in ns when nothing disturbs it."""
    return min(before_ms * 1e6, float(np.quantile([run.around for run in runs], FASTEST_SHARE)))


def _starved(runs: Sequence[_Run], count: int, fast: float) -> list[int]:
    """Units with too few undisturbed runs."""
    limit = FAST * fast
    clean = np.bincount([r.unit for r in runs if r.around <= limit], minlength=count + 1)
    return [unit for unit in range(count) if clean[unit] < ENOUGH]


def _times(runs: Sequence[_Run], count: int, fast: float) -> Times:
    of_unit: list[list[_Run]] = [[] for _ in range(count + 1)]
    for run in runs:
        of_unit[run.unit].append(run)
    typical = np.array([_typical(own, fast) for own in of_unit])
    control = float(typical[-1, 0])
    hot, cold = typical[:-1].T / control
    return Times(hot, cold, control / 1e6, len(_starved(runs, count, fast)))


def _typical(runs: Sequence[_Run], fast: float) -> tuple[float, float]:
    """Low quantile in ns of the undisturbed runs; else of the least disturbed ones, scaled."""
    clean = [(run.hot, run.cold) for run in runs if run.around <= FAST * fast]
    if len(clean) < ENOUGH // 2:
        least = sorted(runs, key=lambda run: run.around)[:ENOUGH]
        clean = [(r.hot * fast / r.around, r.cold * fast / r.around) for r in least]
    hot, cold = np.quantile(clean, LOW, axis=0)
    return float(hot), float(cold)
