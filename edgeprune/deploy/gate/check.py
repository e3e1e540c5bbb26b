"""The latency gate: judges an ONNX file by every budget of its target profile."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from edgeprune.deploy.artifact import parity, seal
from edgeprune.deploy.artifact.facts import Facts, read
from edgeprune.deploy.artifact.inputs import Shape
from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.gate import absolute, integers, relative, task_figures, untimed
from edgeprune.deploy.gate.absolute import Here
from edgeprune.deploy.gate.accuracy import accuracy
from edgeprune.deploy.gate.inspection import Inspected, inspect
from edgeprune.deploy.gate.relative import check_limit
from edgeprune.deploy.gate.verdicts import FileRecord, Policy, Report, Verdict, of_value
from edgeprune.deploy.timing.protocol import Comparison
from edgeprune.deploy.timing.samples import Health, LatencyReport
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError, PromiseError
from edgeprune.files import contents
from edgeprune.target import Measure, TargetProfile
from edgeprune.text import one_line


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller may say beside the profile; None leaves it to the profile.

    Attributes:
        baseline: Model that every relative budget refers to. None: ``dense.onnx`` beside the
            model, when it is the one that the model records.
        max_ratio: Limit of the latency ratio.
        on_inconclusive: What an undecided budget means.
        max_seconds: Longest time for each timed budget. None: the profile's; where that is the
            default, slow models may have longer.
        device: Where to measure.
        untimed: Why nothing may be timed there: it is not the device, which is not here.
        now: Seconds that only grow; tests pass their own.
    """

    baseline: Path | None = None
    max_ratio: float | None = None
    on_inconclusive: Policy = "warn"
    max_seconds: float | None = None
    device: Device = field(default_factory=Local)
    untimed: str = ""
    now: Callable[[], float] = time.monotonic

    def setting(
        self,
        profile: TargetProfile,
        shapes: Mapping[str, Shape] | None = None,
        values: Mapping[str, float] | None = None,
    ) -> Setting:
        """How to time on this profile.

        Args:
            profile: The target.
            shapes: Shapes of inputs by name, where a file leaves them open.
            values: By name of input, what all its elements are; else they are random.

        Raises:
            InputError: ``max_seconds`` is no time that passes.
        """
        seconds = profile.measure.max_seconds if self.max_seconds is None else self.max_seconds
        if not 0 < seconds < math.inf:
            raise InputError(f"--max-seconds = {seconds:g} is not a positive number of seconds")
        return Setting(
            runtime=profile.runtime,
            device=self.device,
            clock=profile.measure.clock,
            max_seconds=seconds,
            raisable=self.max_seconds is None and seconds == Measure().max_seconds,
            shapes=shapes or {},
            values=values or {},
            now=self.now,
        )


def check(path: Path, profile: TargetProfile, options: Options | None = None) -> Report:
    """Judge an ONNX file by every budget of its target; all misses are listed.

    Raises:
        InputError: a file or a limit that cannot be judged, or a relative budget without a
            reference.
        MachineError: the device cannot measure, or not in the time that it has.
    """
    options = options or Options()
    start = options.now()
    limit = _latency_limit(profile, options)
    candidate = read(path, profile.input)
    reference = _reference(candidate, profile, options, needed=limit is not None)
    shapes = {**(reference.inputs if reference else {}), **candidate.inputs}
    setting = options.setting(profile, shapes, candidate.values)
    # Counts come before the clock: what is wrong with them must not cost a finished timing.
    counted = absolute.counts(candidate, profile.budget.absolute)
    shares_left = _shares(candidate, reference, profile)
    seen = inspect(candidate, reference, setting, profile.core)
    machine = seen.machine
    untimable = options.untimed or untimed.emulation(machine)
    timed = None
    if reference and limit and not untimable:
        paired = replace(setting, paces=seen.paces)
        timed = relative.latency(candidate, reference, paired, limit)
    verdicts = [*_as_sealed(candidate, profile, options), *relative.outputs(seen.finite)]
    if timed:
        verdicts.append(timed.verdict)
    in_int8 = integers.wanted(candidate, profile)
    verdicts += [*shares_left, *_relative(candidate, reference, profile, seen, in_int8)]
    if in_int8:
        verdicts.append(integers.float_convolutions(seen, profile))
        if not untimable:
            verdicts += integers.gain(candidate, profile, setting)
    asked = profile.budget.relative
    shares = {"latency": limit, "macs_ratio": asked.macs, "params_ratio": asked.params}
    verdicts = relative.with_doubt(verdicts, candidate, reference, shares)
    setting = replace(setting, paces=seen.paces[:1])
    limits, name = profile.budget.absolute, identify(machine)
    last = timed.attempts[-1] if timed else None
    if untimable:
        of_time, alone = untimed.undecided(untimable, limit if reference else None, limits), None
        verdicts += [*of_time, *counted]
    else:
        here = Here(name, name == limits.fingerprint)
        known = last.candidate if last else None  # measured once, used twice
        in_ms, alone = absolute.percentiles(candidate, limits, setting, here, known)
        verdicts += [*in_ms, *counted]
        verdicts += absolute.footprints(candidate, limits, setting, here)
    if not verdicts:
        raise InputError(f"target {profile.name} sets no budget to check; set one or --max-ratio")
    health = alone.health if alone else None
    if last:
        health = last.health
    return Report(
        model=_named(candidate),
        reference=_named(reference) if reference else None,
        target={"name": profile.name, "sha256": profile.sha256, "proxy_for": profile.proxy_for},
        verdicts=tuple(verdicts),
        on_inconclusive=options.on_inconclusive,
        notes=(
            *untimed.notes(machine),
            *_device_notes(profile, seen, reference, bool(untimable)),
            *_notes(profile, health, candidate),
        ),
        machine=machine | {"fingerprint": name, "device": options.device.uri},
        health=health,
        latency=_latencies(last, alone),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=options.now() - start,
        versions={"edgeprune": version("edgeprune"), "onnxruntime": machine["onnxruntime"]},
    )


def _latency_limit(profile: TargetProfile, options: Options) -> float | None:
    if options.max_ratio is not None:
        return check_limit(options.max_ratio, "--max-ratio")
    limit = profile.budget.relative.latency
    return None if limit is None else check_limit(limit, "budget.relative.latency")


def _reference(
    candidate: Facts, profile: TargetProfile, options: Options, needed: bool
) -> Facts | None:
    budget = profile.budget.relative
    reference = _baseline(candidate, profile, options)
    if reference is None:
        beside = _beside(candidate).is_file()  # another one: undecided
        if not beside and (needed or budget.macs or budget.params):
            raise InputError(
                f"{candidate.path} has a budget relative to a dense model, and no dense.onnx that "
                "it records lies beside it; name one with --baseline"
            )
        return None
    ours, theirs = candidate.inputs, reference.inputs
    # One input may have another name; of several only the names say which is which.
    alike = list(ours.values()) == list(theirs.values()) if len(ours) == 1 else ours == theirs
    if not alike:
        raise InputError(
            f"the baseline {reference.path} takes {_described(theirs)}, "
            f"{candidate.path} takes {_described(ours)}: they cannot be compared"
        )
    return reference


def _described(inputs: Mapping[str, Shape]) -> str:
    return one_line(", ".join(f"{name} {list(shape)}" for name, shape in inputs.items()))


def _baseline(candidate: Facts, profile: TargetProfile, options: Options) -> Facts | None:
    """The named reference; else the dense.onnx beside the file, when it is the recorded one."""
    if options.baseline is not None:
        return read(options.baseline, profile.input)
    beside = _beside(candidate)
    recorded = candidate.recorded.get("dense_sha256")
    if not recorded or not beside.is_file():
        return None
    content = contents(beside)
    if hashlib.sha256(content).hexdigest() != recorded:
        return None
    return read(beside, profile.input, content)


def _beside(candidate: Facts) -> Path:
    return candidate.path.with_name("dense.onnx")


def _as_sealed(candidate: Facts, profile: TargetProfile, options: Options) -> list[Verdict]:
    """Verdicts on the seal and on the answers to the images that the file carries."""
    if not candidate.recorded:
        return []
    try:
        sealed = seal.verify(candidate.path, candidate.proto)
    except PromiseError as error:
        return [of_value("seal", 0, 1, "", str(error))]
    found = [of_value("seal", 0, 0, "", "the file is as it was exported")]
    if sealed.parity is None:
        return found
    try:
        report = parity.replay(candidate, sealed, profile, options.device)
    except PromiseError as error:
        return [*found, of_value("parity", 0, 1, "", str(error))]
    said = f"{report.images} real images answered within {report.max_abs:.1e} of torch"
    if sealed.classes:
        said += f", {report.top1_agreement:.0%} of the classes agree"
    return [*found, of_value("parity", 0, 0, "", said)]


def _shares(candidate: Facts, reference: Facts | None, profile: TargetProfile) -> list[Verdict]:
    """Verdicts on what is left of the reference's counts."""
    budget = profile.budget.relative
    limits = {"macs": budget.macs, "params": budget.params} if reference else {}
    return [
        relative.counts(candidate, reference, name, limit)
        for name, limit in limits.items()
        if reference and limit is not None
    ]


def _relative(
    candidate: Facts,
    reference: Facts | None,
    profile: TargetProfile,
    seen: Inspected,
    in_int8: bool,
) -> list[Verdict]:
    budget, found = profile.budget.relative, []
    if budget.accuracy_drop is not None and not task_figures.judged_by(candidate.recorded):
        found.append(accuracy(candidate, budget.accuracy_drop))
    if budget.output_error is not None:
        found.append(task_figures.output_error(candidate, budget.output_error))
    if budget.score_drop is not None:
        found.append(task_figures.score_drop(candidate, budget.score_drop))
    if reference and not in_int8:  # integers have no blocked layout to leave
        found.append(relative.kernels(seen))
    return found


def _notes(profile: TargetProfile, health: Health | None, candidate: Facts) -> list[str]:
    notes = []
    otherwise = task_figures.judged_by(candidate.recorded)
    if otherwise and profile.budget.relative.accuracy_drop is not None:
        notes.append(otherwise)
    if profile.proxy_for:
        notes.append(f"{profile.name} stands in for {profile.proxy_for}")
    if health:
        notes += [f"this machine was not quiet: {doubt}" for doubt in health.doubts]
    return notes


def _device_notes(
    profile: TargetProfile, seen: Inspected, reference: Facts | None, untimed: bool
) -> list[str]:
    """Too few cores, and what is not on the blocked layout; with a reference that is a verdict."""
    notes = []
    threads, cores = profile.runtime.threads, seen.machine["allowed_cores"]
    if threads > cores and not untimed:
        notes.append(f"{profile.name} runs {threads} threads, this machine allows {cores} cores")
    found = seen.layouts[0]
    if reference is None and not seen.unseen and found.blocked and (found.plain or found.reorders):
        notes.append(f"kernel layout: {found.describe()}")
    return notes


def _named(facts: Facts) -> FileRecord:
    return {"file": facts.path.name, "sha256": facts.sha256, "bytes": facts.file_bytes}


def _latencies(
    last: Comparison | None, alone: LatencyReport | None
) -> dict[str, dict[str, float]]:
    if last is None:
        return {"candidate": alone.summary()} if alone else {}
    return {"candidate": last.candidate.summary(), "reference": last.reference.summary()}
