"""The measuring protocol of a latency ratio: interleaved pairs in fresh sessions, epoch by epoch.

Candidate and reference run in one process, strictly in turn, so both meet the same noise. Each
epoch opens both anew, because a pair of sessions carries an offset of its own (about 1 %) that
more runs never remove; the epochs are therefore the sample of the t interval. docs/gate.md says
what was measured to choose each number here.

Reference:
    L. Bulej et al., Duet benchmarking, ICPE 2020 (pairs under one noise);
    T. Kalibera and R. Jones, Rigorous benchmarking in reasonable time, ISMM 2013 (repeat the
    level that holds the variance).
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.devices.job import Epoch, Job, Line, Model
from edgeprune.deploy.timing.samples import Health, LatencyReport, PairedEpoch, counted, latency
from edgeprune.deploy.timing.sequential import MORE_LOOKS, Decision, cap, decide, ratio_of
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

EPOCHS = 12  # when there is no limit to settle
SMALL_BYTES = 4_000_000  # about 1 ms a run: noise inside an epoch dominates, so more rounds
LARGE_BYTES = 20_000_000  # re-opening dominates: fewer rounds, more epochs


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How and where models are timed.

    Attributes:
        runtime: Providers, threads and optimisation level, as deployed.
        device: Where it runs.
        clock: ``auto`` is the thread's CPU time at one CPU thread, else wall time.
        max_seconds: No epoch is begun after so long.
        shape: Shape of the input where the files leave it open.
        seed: Draws the orders of opening and of starting.
        now: Seconds that only grow; tests pass their own.
    """

    runtime: Runtime = field(default_factory=Runtime)
    device: Device = field(default_factory=Local)
    clock: Literal["auto", "cpu", "wall"] = "auto"
    max_seconds: float = 60.0
    shape: tuple[int, ...] | None = None
    seed: int = 0
    now: Callable[[], float] = time.monotonic

    @cached_property
    def used_clock(self) -> Literal["cpu", "wall"]:
        """The clock that ``auto`` stands for.

        Raises:
            InputError: the CPU clock was asked for, but the work is not all on one thread.
        """
        alone = self.runtime.threads == 1 and self.runtime.providers == ("CPUExecutionProvider",)
        if self.clock == "cpu" and not alone:
            raise InputError(
                "measure.clock = 'cpu' sees one CPU thread only; use 'wall' for this runtime"
            )
        return "cpu" if alone and self.clock != "wall" else "wall"

    def job(self, models: Sequence[Model], epochs: Sequence[Epoch]) -> Job:
        """A job for this setting."""
        return Job(
            models=tuple(models),
            runtime=self.runtime,
            epochs=tuple(epochs),
            clock=self.used_clock,
            shapes=(self.shape,) * len(models),
            timeout=min(max(120.0, 2 * self.max_seconds), 86400.0),  # a queue takes no longer
        )


@dataclass(frozen=True)
class Comparison:
    """A candidate timed against a reference; every number is derived from its epochs.

    Attributes:
        epochs: In the order they were measured, raw samples included.
        clock: ``cpu`` or ``wall``.
        machine: The device's facts.
        seconds: Wall time it took, process start included.
    """

    epochs: tuple[PairedEpoch, ...]
    clock: str
    machine: dict[str, Any]
    seconds: float

    @property
    def interval(self) -> Interval | None:
        """Ratio candidate / reference over all epochs, at 99 %; None with fewer than two."""
        return ratio_of([epoch.value for epoch in self.epochs])

    @property
    def ratio(self) -> float:
        """Geometric mean of the epochs' ratios; under 1 the candidate is faster."""
        return math.exp(sum(epoch.value for epoch in self.epochs) / len(self.epochs))

    @property
    def candidate(self) -> LatencyReport:
        """The candidate's own times."""
        return latency((epoch.candidate for epoch in self.epochs), self.clock, self.machine)

    @property
    def reference(self) -> LatencyReport:
        """The reference's own times."""
        return latency((epoch.reference for epoch in self.epochs), self.clock, self.machine)

    @property
    def health(self) -> Health:
        """How quiet the machine was."""
        return Health.of(self.epochs, self.clock)

    def decide(self, limit: float) -> Decision:
        """The verdict on ``ratio <= limit``; the same epochs always give the same verdict."""
        return decide(self.epochs, limit, self.clock)


def compare(
    candidate: Model, reference: Model, setting: Setting, *, limit: float | None = None
) -> Comparison:
    """Time a candidate against a reference until a limit is settled.

    Args:
        candidate: ONNX file or its bytes.
        reference: ONNX file or its bytes, with inputs of the same shape.
        setting: How and where both are timed.
        limit: Stop as soon as the ratio is settled against it. None: 12 epochs.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure, or not one epoch fitted into the time.
    """

    def settled(epochs: Sequence[PairedEpoch]) -> bool:
        if limit is None:
            return len(epochs) >= EPOCHS
        decided = decide(epochs, limit, setting.used_clock).status != "inconclusive"
        return decided or len(epochs) >= cap(epochs, setting.used_clock)

    return _run([candidate], reference, setting, MORE_LOOKS[-1], settled)[0]


def compare_many(
    candidates: Sequence[Model], reference: Model, setting: Setting, *, epochs: int = EPOCHS
) -> list[Comparison]:
    """Time several candidates against one reference in one process, epoch by epoch in turn.

    Every epoch pairs one candidate with the reference exactly as ``compare`` does, so the ratios
    compare with each other and with the gate's.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure, or the time did not reach for one epoch each.
    """
    return _run(candidates, reference, setting, epochs, lambda _: False)


def measure(model: Model, setting: Setting, *, epochs: int = EPOCHS) -> LatencyReport:
    """Time one model alone, each epoch in a fresh session. For a promise use ``compare``.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure, or the time did not reach for one epoch.
    """
    job = setting.job([model], [Epoch(open=(0,), sequence=(0,), rounds=_rounds([model]))] * epochs)
    machine, lines = collect(setting, job)
    bursts = [tuple(tuple(row[0]) for row in line["samples"]) for line in lines]
    return latency(bursts, setting.used_clock, machine, map(counted, lines))


def collect(
    setting: Setting, job: Job, enough: Callable[[Line], bool] = lambda _: False
) -> tuple[dict[str, Any], list[Line]]:
    """Run a job until ``enough`` says so of its latest epoch, or the time is over.

    Returns:
        The machine's facts and the epoch lines.

    Raises:
        MachineError: not one epoch came in time.
    """
    end, machine, epochs = setting.now() + setting.max_seconds, {}, []
    with closing(setting.device.run(job)) as lines:
        for line in lines:
            if line["kind"] == "machine":
                machine = line["machine"]
            elif line["kind"] == "epoch":
                epochs.append(line)
                if enough(line) or setting.now() >= end:
                    break
    if not epochs:
        raise MachineError(f"{setting.device.uri} measured nothing; raise --max-seconds")
    return machine, epochs


def _run(
    candidates: Sequence[Model],
    reference: Model,
    setting: Setting,
    epochs: int,
    settled: Callable[[Sequence[PairedEpoch]], bool],
) -> list[Comparison]:
    start, models = setting.now(), [*candidates, reference]
    # Candidates take turns, so that a machine that slows down slows all of them.
    turns = [turn % len(candidates) for turn in range(epochs * len(candidates))]
    drawn = list(_drawn(turns, len(candidates), setting.seed, _rounds(models)))
    measured: list[list[PairedEpoch]] = [[] for _ in candidates]

    def enough(line: Line) -> bool:
        number = line["epoch"]
        epoch, mine = drawn[number], measured[turns[number]]
        place = epoch.sequence.index(epoch.open.index(turns[number]))  # in a round: 0 or 1
        mine.append(PairedEpoch.of(line, place))
        return settled(mine)

    machine, _ = collect(setting, setting.job(models, drawn), enough)
    if not all(measured):
        raise MachineError(f"{setting.max_seconds:.0f} s do not reach for one epoch of each model")
    seconds = setting.now() - start
    return [Comparison(tuple(each), setting.used_clock, machine, seconds) for each in measured]


def _drawn(turns: Sequence[int], reference: int, seed: int, rounds: int) -> Iterator[Epoch]:
    # The order of opening places weights in memory, the first to run warms the caches: both
    # drawn anew each epoch, so that neither leans to one side.
    draw = random.Random(seed)
    for turn in turns:
        pair = draw.choice([(turn, reference), (reference, turn)])
        yield Epoch(open=pair, sequence=draw.choice([(0, 1), (1, 0)]), rounds=rounds)


def _rounds(models: Sequence[Model]) -> int:
    sizes = [len(m) if isinstance(m, bytes) else m.stat().st_size for m in models]
    if max(sizes) < SMALL_BYTES:
        return 16
    return 8 if max(sizes) <= LARGE_BYTES else 4
