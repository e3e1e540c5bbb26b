"""Verdicts on an int8 file: it runs on integers, and is faster than its twin in fp32."""

import json
from dataclasses import replace
from pathlib import Path

from edgeprune.deploy.artifact.facts import Facts, read
from edgeprune.deploy.gate import relative
from edgeprune.deploy.gate.verdicts import Verdict, of_value
from edgeprune.deploy.precision.integer_kernels import IntegerKernels
from edgeprune.deploy.timing.setting import Setting
from edgeprune.files import contents
from edgeprune.target import TargetProfile

SAME = 1.0  # ratio to the twin that an int8 file has to stay under


def wanted(candidate: Facts, profile: TargetProfile) -> bool:
    """Whether int8 is what the file says it is, or what the target runs."""
    return "int8" in (candidate.recorded.get("precision"), profile.precision.mode)


def float_convolutions(kernels: IntegerKernels, profile: TargetProfile) -> Verdict:
    """The share of the convolutions that onnxruntime runs in float on the device."""
    limit = round(1 - profile.precision.min_integer_conv_fraction, 6)
    share = round(1 - kernels.fraction, 6)
    return of_value("float_convolutions", limit, share, "x", kernels.describe())


def twin_of(path: Path) -> Path:
    """Where the same network in fp32 lies: beside an int8 file, with ``-fp32`` in its name."""
    return path.with_name(f"{path.stem}-fp32.onnx")


def gain(candidate: Facts, profile: TargetProfile, setting: Setting) -> list[Verdict]:
    """Missed where the file is measurably not faster than the same network in fp32.

    Without that file beside it there is no such verdict: no budget asked for one.
    """
    twin = _twin(candidate, profile)
    if twin is None:
        return []
    timed = relative.latency(candidate, twin, replace(setting, paces=()), SAME).verdict
    said = f"against the same network in fp32, {twin.path.name}: {timed.evidence}"
    return [replace(timed, name="int8_gain", evidence=said)]


def _twin(candidate: Facts, profile: TargetProfile) -> Facts | None:
    """The recorded fp32 file, where it lies beside."""
    path = twin_of(candidate.path)
    try:
        recorded = json.loads(candidate.recorded.get("quantisation", "{}")).get("twin_sha256")
    except (ValueError, AttributeError):
        recorded = None
    if not recorded or not path.is_file():
        return None
    twin = read(path, profile.input, contents(path))
    return twin if twin.sha256 == recorded and twin.inputs == candidate.inputs else None
