"""Proof of a quantised network: it answers as the float one does, and runs on integers here."""

import itertools
from base64 import b64decode
from contextlib import closing

import numpy as np
import onnx

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.parity import compare
from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.devices.job import Job
from edgeprune.deploy.precision.integer_kernels import IntegerKernels, integer_kernels
from edgeprune.deploy.precision.layers import layer_names, layer_outputs, weighted
from edgeprune.deploy.precision.recovery import Quantised
from edgeprune.errors import MachineError, PromiseError
from edgeprune.target import Parity, Precision, Runtime

BEST_DB = 50.0  # of 8 bits: the signal to error ratio of a full-scale sine


def kernels_on(device: Device, proto: onnx.ModelProto, runtime: Runtime) -> IntegerKernels:
    """The convolutions of a model as a device's onnxruntime really runs them.

    Raises:
        MachineError: the device cannot say.
    """
    job = Job(models=(proto.SerializeToString(),), runtime=runtime, graphs=(0,))
    with closing(device.run(job)) as lines:
        for line in lines:
            if line["kind"] == "graph":
                return integer_kernels(b64decode(line["onnx"]))
    raise MachineError(f"{device.uri} did not show the optimised graph")


def refuse_float(kernels: IntegerKernels, precision: Precision) -> None:
    """Raise PromiseError where too few convolutions run on integers; the others are named."""
    least = precision.min_integer_conv_fraction
    if kernels.fraction < least:
        raise PromiseError(
            f"int8: {kernels.describe()}; the target asks for {least:.0%} "
            "(precision.min_integer_conv_fraction)"
        )


def refuse_unfaithful(network: Quantised, image: Floats32, parity: Parity) -> None:
    """Raise PromiseError where the int8 network answers otherwise than the float one.

    Args:
        network: The quantised network.
        image: A calibration image (1, C, H, W), to name the worst layer.
        parity: How near the logits have to be.
    """
    found = network.fidelity
    if found.near(parity):
        return
    layer, ratio = worst_layer(network, image)
    raise PromiseError(
        f"parity failed from fp32 to int8: on {found.images} calibration images the logits have "
        f"{found.sqnr_db:.1f} dB of signal to error (at least {parity.sqnr_db:g}) and "
        f"{found.top1_agreement:.1%} of the classes agree (at least {parity.agreement:.0%}); "
        f"worst at layer {layer} ({ratio:.1f} dB); let more layers stay in float "
        "(precision.min_integer_conv_fraction of the target), or widen its [parity]"
    )


def worst_layer(network: Quantised, image: Floats32) -> tuple[str, float]:
    """The layer whose outputs are furthest off, and their signal to error ratio in dB."""
    names = layer_names(network.float_proto)
    layers = weighted(network.float_proto)
    (expected,) = layer_outputs(network.float_proto, layers, [image])
    (found,) = layer_outputs(network.proto, layers, [image])
    ratios = {
        layer: compare(ours.reshape(1, -1), theirs.reshape(1, -1), atol=np.inf, rtol=0.0).sqnr_db
        for layer, ours, theirs in zip(layers, expected, found, strict=True)
    }
    # An error stays in all layers behind: the worst is where the ratio falls furthest.
    before = [BEST_DB, *itertools.accumulate(ratios.values(), min)]
    falls = {layer: ratios[layer] - least for layer, least in zip(ratios, before, strict=False)}
    worst = min(falls, key=lambda layer: falls[layer])
    return names[worst], ratios[worst]
