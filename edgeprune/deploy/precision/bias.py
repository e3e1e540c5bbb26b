"""Bias correction: what quantisation shifts in the mean of a layer's outputs is taken back."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from edgeprune.arrays import Floats, Floats32
from edgeprune.deploy.precision.layers import WEIGHTED, layer_outputs


def corrected(
    proto: onnx.ModelProto,
    quantise: Callable[[onnx.ModelProto], onnx.ModelProto],
    images: Sequence[Floats32],
) -> onnx.ModelProto:
    """Shift every bias by the mean error of its layer's outputs, layer by layer in order.

    Each layer sees what the corrected layers before it make (Nagel et al., Data-free quantization
    through weight equalization and bias correction, ICCV 2019, section 4.2, with images in place
    of the statistics of BatchNorm).

    Args:
        proto: fp32, BatchNorm folded; left as it is.
        quantise: From an fp32 network to the same one quantised, names of nodes kept.
        images: Each (1, C, H, W).

    Returns:
        The fp32 network with other biases; layers without one stay as they are.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    biases = {tensor.name: tensor for tensor in result.graph.initializer}
    layers = [
        node
        for node in result.graph.node
        if node.op_type in WEIGHTED and len(node.input) > 2 and node.input[2] in biases
    ]
    wanted = _means(proto, [layer.name for layer in layers], images)
    for layer in layers:
        found = _means(quantise(result), [layer.name], images)
        bias = biases[layer.input[2]]
        shifted = numpy_helper.to_array(bias) + wanted[layer.name] - found[layer.name]
        bias.CopyFrom(numpy_helper.from_array(shifted.astype(np.float32), bias.name))
    return result


def _means(
    proto: onnx.ModelProto, layers: Sequence[str], images: Sequence[Floats32]
) -> dict[str, Floats]:
    """Mean over images and places of each layer's output channels, (C,) by name of the node."""
    sums = {layer: np.zeros(1) for layer in layers}
    for outputs in layer_outputs(proto, layers, images):
        for layer, output in zip(layers, outputs, strict=True):
            # (1, C) or (1, C, H, W): all but the channels are averaged.
            places = (0, *range(2, output.ndim))
            sums[layer] = sums[layer] + output.mean(axis=places, dtype=np.float64)
    return {layer: total / len(images) for layer, total in sums.items()}
