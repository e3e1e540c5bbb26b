"""The measuring protocol of a latency ratio: interleaved pairs in fresh sessions, epoch by epoch.

Candidate and reference run in one process, strictly in turn, so both meet the same noise. Each
epoch opens both anew, because a pair of sessions carries an offset of its own (about 1 %) that
more runs never remove; the epochs are therefore the sample of the t interval. gate.md says
what was measured to choose each number here.

Reference:
    L. Bulej et al., Duet benchmarking, ICPE 2020 (pairs under one noise);
    T. Kalibera and R. Jones, Rigorous benchmarking in reasonable time, ISMM 2013 (repeat the
    level that holds the variance).
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from edgeprune.deploy.devices.job import Epoch, Job, Line, Model
from edgeprune.deploy.timing import pacing
from edgeprune.deploy.timing.pacing import Plan
from edgeprune.deploy.timing.samples import Health, LatencyReport, PairedEpoch, counted, latency
from edgeprune.deploy.timing.sequential import (
    ALPHA,
    LOOKS,
    MORE_LOOKS,
    OVERALL,
    Decision,
    cap,
    decide,
    ratio_of,
)
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import MachineError

EPOCHS = 12  # when there is no limit to settle


@dataclass(frozen=True)
class Comparison:
    """A candidate timed against a reference; every number is derived from its epochs.

    Attributes:
        epochs: In the order they were measured, raw samples included.
        clock: ``cpu`` or ``wall``.
        machine: The device's facts.
        seconds: Wall time it took, process start included.
        plan: How its time was spent.
        alpha: Chance that its interval does not hold the ratio, at one look.
    """

    epochs: tuple[PairedEpoch, ...]
    clock: str
    machine: dict[str, Any]
    seconds: float
    plan: Plan
    alpha: float = OVERALL

    @property
    def interval(self) -> Interval | None:
        """Ratio candidate / reference over all epochs, at 99 %; None with fewer than two.

        Where a limit was to be settled, the 99 % hold for the intervals of all looks together.
        """
        return ratio_of([epoch.value for epoch in self.epochs], self.alpha)

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
        MachineError: the device cannot measure, or the time does not reach for the first look,
            without a limit for one epoch.
    """

    def settled(epochs: Sequence[PairedEpoch]) -> bool:
        if limit is None:
            return len(epochs) >= EPOCHS
        decided = decide(epochs, limit, setting.used_clock).status != "inconclusive"
        return decided or len(epochs) >= cap(epochs, setting.used_clock)

    least = 0 if limit is None else LOOKS[0]
    planned = plan_for(setting, [candidate, reference], least)
    found = _run([candidate], reference, setting, planned, MORE_LOOKS[-1], settled)[0]
    _refuse_fewer(found, least)
    return found if limit is None else replace(found, alpha=ALPHA)


def compare_many(
    candidates: Sequence[Model],
    reference: Model,
    setting: Setting,
    *,
    epochs: int = EPOCHS,
    least: int = 0,
    planned: Plan | None = None,
) -> list[Comparison]:
    """Time several candidates against one reference in one process, epoch by epoch in turn.

    Every epoch pairs one candidate with the reference exactly as ``compare`` does, so the ratios
    compare with each other and with the gate's.

    Args:
        candidates: ONNX files or their bytes.
        reference: ONNX file or its bytes, with inputs of the same shape.
        setting: How and where all are timed.
        epochs: Epochs of each candidate, unless the time is over before.
        least: Fewer epochs of a candidate are an error.
        planned: How thorough they are. None: as the time allows.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure, or the time did not reach for one epoch each.
    """
    planned = planned or plan_for(setting, [candidates[0], reference], least)
    found = _run(candidates, reference, setting, planned, epochs, lambda _: False)
    for each in found:
        _refuse_fewer(each, least)
    return found


def _refuse_fewer(found: Comparison, least: int) -> None:
    count = len(found.epochs)
    if count < least:
        needed = pacing.SPARE * found.seconds / count * least
        raise pacing.short(found.plan.max_seconds, count, least, needed)


def measure(
    model: Model, setting: Setting, *, epochs: int = EPOCHS, planned: Plan | None = None
) -> LatencyReport:
    """Time one model alone, each epoch in a fresh session. For a promise use ``compare``.

    Args:
        model: ONNX file or its bytes.
        setting: How and where it is timed.
        epochs: How many there are, unless the time is over before.
        planned: How thorough they are. None: as the time allows.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure, or the time did not reach for one epoch.
    """
    planned = planned or plan_for(setting, [model])
    alone = replace(planned.epoch, open=(0,), sequence=(0,))
    setting = replace(setting, max_seconds=planned.max_seconds)
    job = setting.job([model], [alone] * epochs)
    machine, lines = collect(setting, job)
    bursts = [tuple(tuple(row[0]) for row in line["samples"]) for line in lines]
    return latency(bursts, setting.used_clock, machine, map(counted, lines))


def plan_for(
    setting: Setting,
    models: Sequence[Model],
    least: int = 0,
    thorough: Sequence[Epoch] = pacing.THOROUGH,
) -> Plan:
    """How to spend the time of a setting on epochs that run these models.

    Their paces are measured by a short job of its own where the setting does not know them.

    Args:
        setting: How and where they are timed.
        models: ONNX files or their bytes, all that one epoch runs.
        least: Epochs that the first look needs; 0 where any number will do.
        thorough: Kinds of epoch, the most thorough first.

    Raises:
        InputError: a model that onnxruntime cannot load or run.
        MachineError: the device cannot measure, or the time does not reach for ``least`` epochs.
    """
    paces = setting.paces
    if not paces:
        _, lines = collect(setting, setting.job(models, [pacing.pilot(len(models))]))
        paces = pacing.paces(lines[0])
    return pacing.plan(
        paces,
        least=least,
        max_seconds=setting.max_seconds,
        raisable=setting.raisable,
        thorough=thorough,
    )


def collect(
    setting: Setting, job: Job, enough: Callable[[Line], bool] = lambda _: False
) -> tuple[dict[str, Any], list[Line]]:
    """Run a job until ``enough`` says so of its latest epoch, or the time is over.

    The time counts from the device's first line on.

    Returns:
        The machine's facts and the epoch lines.

    Raises:
        MachineError: not one epoch came in time.
    """
    end, machine, epochs = 0.0, {}, []
    with closing(setting.device.run(job)) as lines:
        for line in lines:
            if line["kind"] == "machine":
                # Starting a process there takes longer than measuring a small model.
                end, machine = setting.now() + setting.max_seconds, line["machine"]
            elif line["kind"] == "epoch":
                epochs.append(line)
                if enough(line) or setting.now() >= end:
                    break
    if not epochs:
        raise MachineError(
            f"{setting.device.uri} measured nothing; raise --max-seconds, or {pacing.OWN}"
        )
    return machine, epochs


def _run(
    candidates: Sequence[Model],
    reference: Model,
    setting: Setting,
    planned: Plan,
    epochs: int,
    settled: Callable[[Sequence[PairedEpoch]], bool],
) -> list[Comparison]:
    start, models = setting.now(), [*candidates, reference]
    setting = replace(setting, max_seconds=planned.max_seconds)
    # Candidates take turns, so that a machine that slows down slows all of them.
    turns = [turn % len(candidates) for turn in range(epochs * len(candidates))]
    drawn = list(_drawn(turns, len(candidates), setting.seed, planned.epoch))
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
    clock = setting.used_clock
    return [Comparison(tuple(each), clock, machine, seconds, planned) for each in measured]


def _drawn(turns: Sequence[int], reference: int, seed: int, like: Epoch) -> Iterator[Epoch]:
    # The order of opening places weights in memory, the first to run warms the caches: both
    # drawn anew each epoch, so that neither leans to one side.
    draw = random.Random(seed)
    for turn in turns:
        pair = draw.choice([(turn, reference), (reference, turn)])
        yield replace(like, open=pair, sequence=draw.choice([(0, 1), (1, 0)]))
