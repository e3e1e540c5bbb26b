"""Quantises an ONNX network through onnxruntime.quantization: int8 with QDQ pairs."""

import io
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference

from edgeprune.deploy.artifact.counting.skeleton import skeleton
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.errors import InputError, MachineError
from edgeprune.text import one_line

Ranges = Mapping[str, tuple[float, float]]  # lowest and highest value, by tensor


def quantised(
    proto: onnx.ModelProto, ranges: Ranges, scheme: Scheme, exclude: Collection[str] = ()
) -> onnx.ModelProto:
    """The network with int8 weights, one scale a channel, and 8-bit activations.

    Args:
        proto: fp32, as exported; it is left as it is.
        ranges: Of every float tensor, as :func:`ranges.observed` finds them.
        scheme: Number formats.
        exclude: Names of nodes that stay in float.

    Returns:
        The same graph with QuantizeLinear and DequantizeLinear pairs, which onnxruntime fuses
        into integer kernels when it opens the file. Same input, same bytes.

    Raises:
        InputError: a node in ``exclude`` that is not there.
        MachineError: onnxruntime's quantiser is not there, or fails.
    """
    unknown = set(exclude) - {node.name for node in proto.graph.node}
    if unknown:
        raise InputError(f"the network has no node {one_line(min(unknown))!r} to leave in float")
    library = quantiser()
    types = library.QuantType
    activations = types.QUInt8 if scheme.activations == "uint8" else types.QInt8
    spans = {name: _span(low, high) for name, (low, high) in ranges.items()}
    try:
        with silent():
            made = library.qdq_quantizer.QDQQuantizer(
                _with_shapes(proto),
                per_channel=True,
                reduce_range=scheme.reduced,
                weight_qType=types.QInt8,
                activation_qType=activations,
                tensors_range=library.calibrate.TensorsData(
                    library.CalibrationMethod.MinMax, spans
                ),
                nodes_to_quantize=[],
                nodes_to_exclude=sorted(exclude),
                op_types_to_quantize=sorted(
                    {*library.registry.QDQRegistry, *library.registry.QLinearOpsRegistry}
                ),
                extra_options={},
            )
            made.quantize_model()
    except (ValueError, KeyError, RuntimeError) as error:
        raise MachineError(f"onnxruntime does not quantise the model: {one_line(error)}") from None
    result: onnx.ModelProto = made.model.model
    result.ir_version = proto.ir_version
    del result.graph.value_info[:]  # inferred for the quantiser; the fp32 file has none either
    return result


def _with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the shapes of all tensors; the inference, which copies, sees no large weight."""
    known = shape_inference.infer_shapes(skeleton(proto)).graph.value_info
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    del copied.graph.value_info[:]
    copied.graph.value_info.extend(known)
    return copied


def quantiser() -> Any:
    """The module ``onnxruntime.quantization`` with the parts that are used.

    Raises:
        MachineError: this onnxruntime comes without it.
    """
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization import calibrate, qdq_quantizer, registry  # noqa: F401
    except ImportError as error:
        raise MachineError(
            f"int8 needs onnxruntime.quantization, which does not load: {one_line(error)}; "
            "install edgeprune[search]"
        ) from None
    return quantization


def _span(low: float, high: float) -> tuple[Any, Any]:
    # Zero has to be a value of its own: padding is zero.
    return np.float32(min(low, 0.0)), np.float32(max(high, 0.0))


@contextmanager
def silent() -> Iterator[None]:
    """Keep what the library prints, and its advice on the root logger, from the user."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
