"""A network in int8 for a target: calibrated, quantised, proven on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
import torch

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.provenance import Quantisation
from edgeprune.deploy.devices.arm_graph import is_arm
from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.precision import on_arm
from edgeprune.deploy.precision.exclusion import timer
from edgeprune.deploy.precision.integer_kernels import IntegerKernels
from edgeprune.deploy.precision.proof import kernels_on, refuse_float, refuse_unfaithful
from edgeprune.deploy.precision.recovery import Quantised, plainly, recovered
from edgeprune.deploy.precision.scheme import scheme_for
from edgeprune.deploy.precision.trials import Aim, Quantiser
from edgeprune.deploy.table.stopwatch import machine_of
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.export.onnx_network import OnnxNetwork
from edgeprune.progress import Progress, silent
from edgeprune.prune.images.calibration_set import CalibrationSet
from edgeprune.prune.images.held import Images
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.quantisation_aware import Rounding
from edgeprune.target import TargetProfile


@dataclass(frozen=True)
class Int8Model:
    """An int8 network that answers as its float one and runs on integers.

    Attributes:
        quantised: The network, and what was tried on the way.
        kernels: Its convolutions as the device runs them.
        calibration: Images that its ranges come from.
        machine: Facts of that device.
        verified: What is known of it on other processors, in lines.
    """

    quantised: Quantised
    kernels: IntegerKernels
    calibration: CalibrationSet
    machine: Mapping[str, Any] = field(default_factory=dict)
    verified: tuple[str, ...] = ()

    def record(self, twin_sha256: str | None = None) -> Quantisation:
        """What the file says about it; ``twin_sha256`` is of the same network in fp32."""
        made, found = self.quantised, self.quantised.fidelity
        return Quantisation(
            scheme=made.scheme.name,
            method=made.method,
            calibration_images=len(self.calibration.indices),
            calibration_sha256=self.calibration.sha256,
            excluded=made.excluded,
            sqnr_db=round(min(found.sqnr_db, 999.0), 3),
            agreement=found.top1_agreement,
            integer_convolutions=self.kernels.integer,
            float_convolutions=tuple(name for name, _ in self.kernels.floats),
            twin_sha256=twin_sha256,
        )


@dataclass(frozen=True)
class Int8:
    """How networks of one run become int8.

    Attributes:
        target: Profile with ``precision.mode = "int8"``.
        device: Where they are to run.
        calibration: Images that ranges come from.
        quantiser: Those images and the number formats.
        machine: Facts of the device.
    """

    target: TargetProfile
    device: Device
    calibration: CalibrationSet
    quantiser: Quantiser
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether the device's clock says which layers the target is faster with in float."""
        if self.machine.get("emulated"):
            return False
        return self.target.core is None or is_arm(self.machine)

    def quick(self, proto: onnx.ModelProto) -> onnx.ModelProto:
        """Quantise without winning anything back: enough to be timed, or to rank networks."""
        return plainly(proto, self.quantiser)

    def network(self, proto: onnx.ModelProto) -> OnnxNetwork:
        """A network as it answers in int8."""
        return OnnxNetwork(self.quick(proto), self.target.runtime)

    def aim(self, dense: float, images: Images, allowed: float | None, setting: Setting) -> Aim:
        """When an int8 network has won back enough: judged on labelled images.

        Args:
            dense: Top-1 of the dense network on them, 0..1.
            images: Images and classes.
            allowed: Points that may be lost; None for any number.
            setting: How layers are timed on the device.
        """

        def lost(proto: onnx.ModelProto) -> float:
            network = OnnxNetwork(proto, self.target.runtime)
            return 100 * (dense - evaluate(network, images).accuracy)

        most = float("inf") if allowed is None else allowed
        return Aim(lost=lost, allowed=most, timed=timer(setting) if self.timed else None)

    def recovered(
        self, proto: onnx.ModelProto, aim: Aim | None = None, progress: Progress = silent
    ) -> Quantised:
        """Quantise, and win back what is too much."""
        return recovered(proto, self.quantiser, aim, progress)

    def proven(self, made: Quantised) -> Int8Model:
        """Prove a quantised network on the device.

        Raises:
            PromiseError: it answers otherwise than in fp32, or too much of it runs in float;
                the message names the layers.
        """
        refuse_unfaithful(made, self.quantiser.images[0], self.target.parity)
        kernels = kernels_on(self.device, made.proto, self.target.runtime)
        refuse_float(kernels, self.target.precision)
        return Int8Model(made, kernels, self.calibration, self.machine)

    def verified(self, made: Int8Model) -> Int8Model:
        """The network with what is known of it on other processors; see ``on_arm.verified``.

        Raises:
            PromiseError: on the target's own core it answers otherwise, or runs in float.
        """
        said = on_arm.verified(made.quantised, self.quantiser.images, self.target)
        return replace(made, verified=tuple(said))

    def rounding(self) -> Rounding:
        """The number formats, for training under them."""
        scheme = self.quantiser.scheme
        return Rounding(
            [torch.from_numpy(image) for image in self.quantiser.images],
            weight_bits=7 if scheme.reduced else 8,
            signed=scheme.activations == "int8",
        )


def int8_for(
    target: TargetProfile,
    device: Device,
    calibration: tuple[CalibrationSet, Sequence[Floats32]],
) -> Int8:
    """Set up quantisation for a target on a device.

    Args:
        target: The profile.
        device: Its instruction set decides the number formats.
        calibration: The list of images and the images themselves.

    Raises:
        InputError: the target's provider has no integer kernels that edgeprune knows.
        MachineError: the device cannot be reached.
    """
    if target.runtime.providers != ("CPUExecutionProvider",):
        raise InputError(
            f"int8 is proven on CPUExecutionProvider, not on {', '.join(target.runtime.providers)}"
        )
    machine = machine_of(Setting(runtime=target.runtime, device=device))
    listed, images = calibration
    quantiser = Quantiser(
        images=images,
        precision=target.precision,
        scheme=scheme_for(machine, target.precision.scheme),
        runtime=target.runtime,
        parity=target.parity,
    )
    return Int8(target, device, listed, quantiser, machine)
