"""Verifies an int8 network on emulated Arm cores: its answers, and what runs on integers there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.parity import ParityReport, answers_on, compare
from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.devices.emulated import CORES, built
from edgeprune.deploy.devices.job import Job
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.integer_kernels import IntegerKernels
from edgeprune.deploy.precision.proof import kernels_on, refuse_float
from edgeprune.deploy.precision.recovery import Quantised
from edgeprune.deploy.precision.saturation import saturating
from edgeprune.errors import PromiseError
from edgeprune.target import TargetProfile
from edgeprune.text import one_line

IMAGES = 32  # of the calibration images: under emulation each opens the network anew
FEW = 8  # of them that say which layers saturate
MOST_NAMED = 8


@dataclass(frozen=True)
class OnCore:
    """An int8 network on one emulated core.

    Attributes:
        fidelity: Its logits against those of the float network.
        same: Share of images, 0..1, with the first class that this machine's int8 gives.
        kernels: Its convolutions there.
    """

    fidelity: ParityReport
    same: float
    kernels: IntegerKernels


def verified(network: Quantised, images: Sequence[Floats32], target: TargetProfile) -> list[str]:
    """What a reader has to know of an int8 network on processors other than this one, in lines.

    Of an Arm target it is run on every emulated core that is built in its usual place.

    Args:
        network: The quantised network.
        images: Calibration images, each (1, C, H, W).
        target: The profile.

    Raises:
        PromiseError: on the target's own core it answers otherwise than in float, or runs in it.
        MachineError: a core that is built does not run.
    """
    lines = [*_on_arm(network, images[:IMAGES], target)] if target.core else []
    if network.scheme.name == "u8s8" and (said := _saturation(network, images[:FEW])):
        lines.append(said)
    return lines


def _on_arm(network: Quantised, images: Sequence[Floats32], target: TargetProfile) -> list[str]:
    devices = {core: device for core in CORES if (device := built(core))}
    if not devices:
        return [
            f"not verified on Arm: no emulated core is built; `edgeprune devices emulate "
            f"{target.core}` once, and the next export is run on it"
        ]
    expected, here = (
        open_session(proto.SerializeToString(), target.runtime).answers(images)
        for proto in (network.float_proto, network.proto)
    )
    fidelity = compare(expected, here, atol=np.inf, rtol=0.0)
    said = [f"on {len(images)} calibration images against fp32: {_told(fidelity)} on this machine"]
    for core, device in devices.items():
        found = _on_core(device, network, (images, expected, here), target)
        if core == target.core:
            _refuse(found, target)
        said.append(
            f"{_told(found.fidelity)} on {core} (emulated), {found.same:.1%} of them as here, "
            f"{found.kernels.describe()}"
        )
    if target.core not in devices:
        said.append(f"not on {target.core}: `edgeprune devices emulate {target.core}` builds it")
    return ["; ".join(said)]


def _on_core(
    device: Device,
    network: Quantised,
    known: tuple[Sequence[Floats32], Floats32, Floats32],
    target: TargetProfile,
) -> OnCore:
    images, expected, here = known
    job = Job(models=(network.proto.SerializeToString(),), runtime=target.runtime)
    found = answers_on(device, job, expected.shape[1], images)
    return OnCore(
        fidelity=compare(expected, found, atol=np.inf, rtol=0.0),
        same=float(np.mean(found.argmax(1) == here.argmax(1))),
        kernels=kernels_on(device, network.proto, target.runtime),
    )


def _refuse(found: OnCore, target: TargetProfile) -> None:
    """Raise PromiseError where the target's own core breaks what this machine keeps."""
    parity, fidelity = target.parity, found.fidelity
    if not fidelity.near(parity):
        raise PromiseError(
            f"parity failed from fp32 to int8 on {target.core} (emulated): {_told(fidelity)} on "
            f"{fidelity.images} calibration images, at least {parity.sqnr_db:g} dB and "
            f"{parity.agreement:.0%} are asked for; widen [parity] of the target, or try "
            "--calibration-method percentile"
        )
    refuse_float(found.kernels, target.precision)


def _told(fidelity: ParityReport) -> str:
    return f"{fidelity.sqnr_db:.1f} dB, {fidelity.top1_agreement:.1%} of the classes"


def _saturation(network: Quantised, images: Sequence[Floats32]) -> str:
    found = saturating(network.proto, images)
    if not found:
        return ""
    worst = sorted(found, key=lambda layer: -layer.share)[:MOST_NAMED]
    names = ", ".join(f"{one_line(each.layer)} ({100 * each.share:.2g} %)" for each in worst)
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return (
        f"warning: x86 without VNNI saturates in {names}{more}: the share of a layer's outputs, "
        f"on {len(images)} calibration images, that a sum beyond 16 bits enters; Arm does not"
    )
