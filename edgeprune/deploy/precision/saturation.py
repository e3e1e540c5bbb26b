"""Layers of a u8s8 network whose sums overflow 16 bits on an x86 processor without VNNI.

There onnxruntime multiplies uint8 activations and int8 weights with ``vpmaddubsw``: two products
that are neighbours along the inner axis are added in 16 bits, which saturate, before they go on in
32. VNNI and Arm add them in 32 bits. The inner axis of a convolution is its kernel's rows, columns
and input channels, in this order; weights of 7 bits (u8s7) cannot overflow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import numpy_helper

from edgeprune.arrays import Floats32
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.layers import WEIGHTED
from edgeprune.target import Runtime

LOWEST, HIGHEST = -(1 << 15), (1 << 15) - 1
LARGEST = 255  # of an activation
_PLAIN = Runtime(optimisation="disable")  # QDQ pairs as they stand: what they quantise is exact

Integers = NDArray[np.int32]


@dataclass(frozen=True)
class Saturating:
    """A layer that saturates on some of the images.

    Attributes:
        layer: Its name, that of its weight.
        share: Share of its outputs, 0..1, that hold at least one sum of two that saturates.
    """

    layer: str
    share: float


def saturating(proto: onnx.ModelProto, images: Sequence[Floats32]) -> tuple[Saturating, ...]:
    """The layers of a quantised network that saturate on these images, in order.

    Depthwise convolutions do not: they have kernels of their own, which add in 32 bits.

    Args:
        proto: With QDQ pairs, uint8 activations and int8 weights.
        images: Each (1, C, H, W) as the network takes it.
    """
    parts = list(_parts(proto))
    if not parts:
        return ()
    shares: dict[str, list[float]] = {part.name: [] for part in parts}
    for tensors in _inputs(proto, [part.source for part in parts], images):
        for part, tensor in zip(parts, tensors, strict=True):
            shares[part.name].append(part.saturated(tensor))
    means = {name: float(np.mean(found)) for name, found in shares.items()}
    return tuple(Saturating(name, share) for name, share in means.items() if share)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A matrix product on integers: a Gemm, or one group of a convolution.

    Attributes:
        name: Of the layer: that of its weight.
        source: Tensor of uint8 that it reads.
        zero: Zero point of that tensor, which padding is.
        outputs: Their number, N.
        pairs: Of neighbours along the inner axis whose sum can overflow (M, 4): the place of the
            pair, its output and both weights.
        first: The first channel of the tensor that it reads.
        kernel: Input channels, height and width; none of a Gemm.
        strides: Of the kernel.
        pads: Top, left, bottom, right.
        dilations: Of the kernel.
    """

    name: str
    source: str
    zero: int
    outputs: int
    pairs: Integers
    first: int = 0
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    dilations: tuple[int, ...] = (1, 1)

    def saturated(self, tensor: NDArray[np.uint8]) -> float:
        """Share of the outputs, 0..1, that a saturating sum enters, for one input."""
        if not len(self.pairs):
            return 0.0
        rows = self.rows(tensor)  # (P, K)
        hit = np.zeros((len(rows), self.outputs), bool)  # (P, N)
        for pair, output, even, odd in self.pairs.tolist():
            sums = rows[:, 2 * pair] * even + rows[:, 2 * pair + 1] * odd  # (P,)
            hit[:, output] |= (sums > HIGHEST) | (sums < LOWEST)
        return float(hit.mean())

    def rows(self, tensor: NDArray[np.uint8]) -> Integers:
        """What meets the weights at each output position (P, K), K even."""
        if not self.kernel:
            return _even(tensor.reshape(len(tensor), -1).astype(np.int32), axis=1)
        top, left, bottom, right = self.pads
        image = tensor[0, self.first : self.first + self.kernel[0]].transpose(1, 2, 0)
        around = ((top, bottom), (left, right), (0, 0))
        image = np.pad(image, around, constant_values=self.zero)  # (H, W, C)
        (high, wide), (down, across) = self.dilations, self.strides
        reach = (high * (self.kernel[1] - 1) + 1, wide * (self.kernel[2] - 1) + 1)
        windows = sliding_window_view(image, reach, axis=(0, 1))  # (H', W', C, *reach)
        taken = windows[::down, ::across, :, ::high, ::wide].transpose(0, 1, 3, 4, 2)
        positions = taken.shape[0] * taken.shape[1]
        return _even(taken.reshape(positions, -1).astype(np.int32), axis=1)


def _parts(proto: onnx.ModelProto) -> Iterator[_Part]:
    values = {tensor.name: tensor for tensor in proto.graph.initializer}
    makers = {output: node for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        pairs = [makers.get(name) for name in node.input[:2]]
        quantised = [pair for pair in pairs if pair and pair.op_type == "DequantizeLinear"]
        if len(quantised) == 2 and quantised[1].input[0] in values:
            image, weight = quantised
            known = {
                "name": weight.input[0].removesuffix("_quantized").removesuffix(".weight"),
                "source": image.input[0],
                "zero": int(numpy_helper.to_array(values[image.input[2]])),
            }
            array = numpy_helper.to_array(values[weight.input[0]])
            yield from _of_node(node, array, known)


def _of_node(
    node: onnx.NodeProto, array: NDArray[np.int8], known: dict[str, Any]
) -> Iterator[_Part]:
    """The parts of a layer with such weights: (N, C, height, width) of a convolution."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Gemm":
        matrix = array.T if found.get("transB") else array
        yield _Part(**known, outputs=matrix.shape[1], pairs=_pairs(matrix))
        return
    groups, channels = int(found.get("group", 1)), array.shape[1]
    if groups > 1 and channels == 1:
        return
    how: dict[str, Any] = {
        k: tuple(found[k]) for k in ("strides", "pads", "dilations") if k in found
    }
    for group, own in enumerate(np.split(array, groups)):
        matrix = own.transpose(2, 3, 1, 0).reshape(-1, len(own))
        yield _Part(
            **known,
            outputs=len(own),
            pairs=_pairs(matrix),
            first=group * channels,
            kernel=own.shape[1:],
            **how,
        )


def _pairs(matrix: NDArray[np.int8]) -> Integers:
    """The pairs of :class:`_Part` in weights with the inner axis first (K, N).

    Only where both are large and of one sign can activations reach a bound.
    """
    even, odd = (_even(matrix, axis=0)[start::2].astype(np.int16) for start in (0, 1))
    most = np.maximum(0, even) + np.maximum(0, odd) > HIGHEST // LARGEST
    least = np.minimum(0, even) + np.minimum(0, odd) < -(-LOWEST // LARGEST)
    pair, output = np.nonzero(most | least)
    return np.stack([pair, output, even[pair, output], odd[pair, output]], axis=1).astype(np.int32)


def _even(matrix: NDArray[Any], axis: int) -> NDArray[Any]:
    """An even inner axis: what is missing is zero."""
    lacking = [(0, matrix.shape[axis] % 2) if each == axis else (0, 0) for each in (0, 1)]
    return np.pad(matrix, lacking)


def _inputs(
    proto: onnx.ModelProto, names: Sequence[str], images: Sequence[Floats32]
) -> Iterator[list[NDArray[np.uint8]]]:
    """The quantised tensors of these names, image by image."""
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        for name in dict.fromkeys(names)
    )
    session = open_session(watched.SerializeToString(), _PLAIN)
    for image in images:
        yield session.session.run(list(names), {session.input_name: image})
