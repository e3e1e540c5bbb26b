"""Examines why a file is not faster: looks, tries what can be tried, ranks what it found."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeprune.deploy.artifact.seal import load
from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.doctor import causes, sweep, trials
from edgeprune.deploy.doctor.case import Case
from edgeprune.deploy.doctor.diagnosis import Diagnosis, Side
from edgeprune.deploy.doctor.findings import Finding, Suspect, Tried, ranked, untried
from edgeprune.deploy.doctor.inputs import Shape, settle
from edgeprune.deploy.doctor.look import File, Look, look, optimised_graphs, read
from edgeprune.deploy.timing.pacing import Pace
from edgeprune.deploy.timing.protocol import Comparison, compare_many, measure
from edgeprune.deploy.timing.samples import LatencyReport
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.target import TargetProfile

SECONDS = 60.0
# Shares of the time: for the profile, the file alone, its baseline and the session options.
# What they leave is for the changes of the file.
PROFILE, ALONE, BASELINE, SWEEP = 0.05, 0.08, 0.2, 0.3
EPOCHS = 6  # sessions of the file alone


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person may ask of an examination.

    Attributes:
        baseline: A file that this one should be faster than.
        shapes: Shapes of inputs by name; under ``""`` that of the only one.
        max_seconds: How long it may take.
        device: Where it is measured.
    """

    baseline: Path | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    max_seconds: float = SECONDS
    device: Device = field(default_factory=Local)


def examine(path: Path, profile: TargetProfile, options: Options) -> Diagnosis:
    """Find out what makes a file slow on a target.

    Raises:
        InputError: a file that is no ONNX file or does not run, or a baseline with other inputs.
        MachineError: the device cannot measure.
    """
    clock = _Clock(options.max_seconds)
    file = read(path, options.shapes or _pinned(profile))
    files = [file]
    if options.baseline:
        files.append(_fitting(options.baseline, file))
    setting = Setting(
        runtime=profile.runtime,
        device=options.device,
        clock=profile.measure.clock,
        shapes=dict(file.inputs.shapes),
    )
    seen = _seen(files, setting, clock.total * PROFILE)
    alone = _alone(path, setting, seen[0].pace, clock.total * ALONE)
    compared = _compared(seen, setting, clock.total * BASELINE)
    median = compared.candidate.median_ms if compared else alone.median_ms
    case = Case(
        seen=seen[0],
        layers=seen[0].layers(median),
        ms=median,
        runtime=profile.runtime,
        graphs=lambda models: optimised_graphs(list(models), setting, file.inputs.shapes),
        target=profile.name,
    )
    suspects = causes.suspects(case)
    end = clock.total * SWEEP
    found = _tried(suspects, path, setting, seen[0].pace, clock.left - end)
    options_found = _swept(case, setting, clock)
    healths = [alone.health, compared.health if compared else None]
    return Diagnosis(
        file=path.name,
        target=profile.name,
        machine=seen[0].machine,
        clock=setting.used_clock,
        latency=alone,
        comparison=compared,
        sides=tuple(
            Side(each.file.path.name, each.layers(ms), each.layout)
            for each, ms in zip(seen, _medians(compared, median), strict=False)
        ),
        findings=ranked([*found, *_worth(options_found, case)]),
        options=options_found,
        notes=_notes(seen),
        health=tuple(health for health in healths if health),
        seconds=clock.spent,
        max_seconds=clock.total,
    )


class _Clock:
    """The time that is left of what was given."""

    def __init__(self, total: float) -> None:
        self.total, self.start = total, time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        return self.total - self.spent


def _pinned(profile: TargetProfile) -> dict[str, Shape]:
    return {"": profile.input.shape} if profile.input.shape else {}


def _seen(files: list[File], setting: Setting, seconds: float) -> list[Look]:
    try:
        return look(files, setting, seconds)
    except InputError as error:
        if not files[0].inputs.chosen:
            raise
        chosen = "; ".join(files[0].inputs.chosen)
        raise InputError(f"{chosen}; --shape takes other sizes: {error}") from None


def _fitting(path: Path, file: File) -> File:
    """The baseline, fed as the file is."""
    proto = load(path)
    try:
        inputs = settle(proto, file.inputs.shapes)
    except InputError:
        inputs = settle(proto, {})
    if inputs.shapes != file.inputs.shapes:
        raise InputError(
            f"the inputs of {path} are {dict(inputs.shapes)}, those of {file.path} are "
            f"{dict(file.inputs.shapes)}; a baseline takes the same"
        )
    return File(path, proto, inputs)


def _alone(path: Path, setting: Setting, pace: Pace, seconds: float) -> LatencyReport:
    setting = replace(setting, paces=(pace,), max_seconds=seconds)
    return measure(path, setting, epochs=EPOCHS)


def _compared(seen: Sequence[Look], setting: Setting, seconds: float) -> Comparison | None:
    if len(seen) < 2:
        return None
    ours, theirs = seen
    setting = replace(setting, paces=(ours.pace, theirs.pace), max_seconds=seconds)
    return compare_many([ours.file.path], theirs.file.path, setting)[0]


def _medians(compared: Comparison | None, median: float) -> list[float]:
    return [median, compared.reference.median_ms] if compared else [median]


def _tried(
    suspects: Sequence[Suspect], path: Path, setting: Setting, pace: Pace, seconds: float
) -> list[Finding]:
    """Every suspect with what trying it showed: the first change of each, then the others."""
    deepest = max((len(suspect.trials) for suspect in suspects), default=0)
    order = [
        (suspect, place)
        for place in range(deepest)
        for suspect in suspects
        if place < len(suspect.trials)
    ]
    chosen = [suspect.trials[place] for suspect, place in order]
    timed = trials.run(chosen, path, setting, pace, seconds).tried if chosen else ()
    results: dict[int, list[Tried]] = {id(suspect): [] for suspect in suspects}
    for (suspect, _), each in zip(order, timed, strict=True):
        results[id(suspect)].append(each)
    return [
        Finding(
            cause=suspect.cause,
            layer=suspect.layer,
            what=suspect.what,
            stake_ms=suspect.stake_ms,
            tried=tuple(results[id(suspect)]),
            next=suspect.next,
        )
        for suspect in suspects
    ]


def _swept(case: Case, setting: Setting, clock: _Clock) -> tuple[Tried, ...]:
    """The session options, in what is left of the time."""
    cores = case.seen.machine["allowed_cores"]
    first = sweep.on_one_clock(case.path, case.runtime)
    second = sweep.by_the_wall(case.path, case.runtime, cores)
    if case.runtime.providers != ("CPUExecutionProvider",):
        return tuple(untried(each, "these are options of the processor") for each in first)
    share = len(first) / (len(first) + len(second))
    one = trials.run(first, case.path, setting, case.seen.pace, clock.left * share)
    if not second:
        return one.tried
    wall = replace(setting, clock="wall")
    other = trials.run(second, case.path, wall, case.seen.pace, clock.left)
    return (*one.tried, *other.tried)


def _worth(options: Sequence[Tried], case: Case) -> list[Finding]:
    """A finding for each session option that is measurably faster."""
    return [
        Finding(
            cause="session options",
            layer="the session",
            what=f"{each.change} is faster than the target's runtime",
            stake_ms=case.ms,
            tried=(each,),
            next="open the file so where it is deployed, and set it under [runtime] of a target "
            "of your own, where it has that key",
        )
        for each in options
        if each.status == "saves"
    ]


def _notes(seen: Sequence[Look]) -> tuple[str, ...]:
    notes = [note for each in seen[:1] for note in each.file.inputs.chosen]
    notes = [f"{note}; --shape takes another" for note in notes]
    for each in seen:
        if not each.finite:
            notes.append(f"{each.file.path.name} answers seeded normal input with NaN or infinity")
    return tuple(notes)
