"""Facts of an ONNX file: hash, size, input shape, MACs, parameters and its own record."""

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeprune.deploy.artifact.provenance import PREFIX
from edgeprune.deploy.artifact.seal import entries_of, load
from edgeprune.errors import InputError
from edgeprune.files import contents
from edgeprune.text import one_line

# Where an operator's weight stands among its inputs.
CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
PRODUCTS = {"Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3}
NORMS = {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"}


@dataclass(frozen=True)
class Facts:
    """One ONNX file with a single input, read once.

    Attributes:
        path: Path of the file.
        content: Bytes of the file.
        input_shape: (N, C, H, W) or as many axes as the model has, all sizes known.
        proto: The ``onnx.ModelProto`` parsed from ``content``.
    """

    path: Path
    content: bytes = field(repr=False)
    input_shape: tuple[int, ...]
    proto: Any

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    @cached_property
    def recorded(self) -> dict[str, str]:
        """The ``edgeprune.*`` entries of the file, without the prefix."""
        return {k.removeprefix(PREFIX): v for k, v in entries_of(self.proto).items()}

    def number(self, key: str) -> float | None:
        """A recorded number, or None where there is none that can be read."""
        try:
            return float(self.recorded[key])
        except (KeyError, ValueError):
            return None

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one run, counted from the graph."""
        return count_macs(self.proto, self.input_shape)

    @cached_property
    def params(self) -> int:
        """Weights and biases, counted from the graph."""
        return count_params(self.proto)


def read(path: Path, pinned: tuple[int, ...] | None = None, content: bytes | None = None) -> Facts:
    """Read a file once and settle the shape of its input.

    Args:
        path: The ONNX file.
        pinned: The shape that the target gives, for axes that the file leaves open. A first
            axis (the batch) that nobody pins is 1.
        content: The bytes of the file, where the caller has read them.

    Raises:
        InputError: not an ONNX file, truncated, several inputs, an open axis without a size, or
            a pinned shape that does not fit.
    """
    content = contents(path) if content is None else content
    proto = load(path, content)
    return Facts(path, content, resolve(_only_input(proto, path), pinned, path.name), proto)


def resolve(axes: list[int | str], pinned: tuple[int, ...] | None, name: str) -> tuple[int, ...]:
    """Sizes for every axis: those of the file, then the pinned ones, then batch 1.

    Raises:
        InputError: an axis stays open, or the pinned shape contradicts the file.
    """
    if pinned and (
        len(pinned) != len(axes)
        or any(isinstance(a, int) and a != p for a, p in zip(axes, pinned, strict=True))
    ):
        raise InputError(f"{name} takes {axes}, the target pins input.shape = {list(pinned)}")
    if pinned:
        return pinned
    # Axis 0 is the batch; any other size that nobody says cannot be guessed.
    sizes = [1 if at == 0 and isinstance(a, str) else a for at, a in enumerate(axes)]
    if any(isinstance(size, str) for size in sizes):
        raise InputError(f"{name} leaves its input open at {axes}; set input.shape in the target")
    return tuple(int(size) for size in sizes)


def count_macs(proto: Any, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of convolutions and matrix products, for one run on ``shape``.

    Raises:
        InputError: a shape cannot be inferred.
    """
    shapes, total = _shapes(proto, shape), 0
    for node in proto.graph.node:
        kinds = CONVOLUTIONS if node.op_type in CONVOLUTIONS else PRODUCTS
        if node.op_type not in kinds:
            continue
        place = kinds[node.op_type]
        try:
            data, weight = shapes[node.input[0]], shapes[node.input[place]]
            result = shapes[node.output[0]]
        except KeyError as lacking:
            name = one_line(lacking.args[0])
            raise InputError(f"the shape of {name!r} cannot be inferred: no MACs") from None
        # A weight is (out, in / groups, *kernel), of a transposed one (in, out / groups, *kernel).
        if node.op_type == "ConvTranspose":
            total += math.prod(data) * math.prod(weight[1:])
        elif kinds is CONVOLUTIONS:
            total += math.prod(result) * math.prod(weight[1:])
        else:
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += math.prod(result) * data[-2 if transposed else -1]
    return total


def count_params(proto: Any) -> int:
    """Elements of the weights and biases of convolutions, products and normalisations."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    source = {
        node.output[0]: node.input[0]
        for node in proto.graph.node
        if node.op_type in ("DequantizeLinear", "Identity", "Cast")
    }
    # A weight that is cast or dequantised counts once, under the name of what is stored.
    used = {source.get(name, name) for node in proto.graph.node for name in _weights(node)}
    return sum(sizes.get(name, 0) for name in used)


def _weights(node: Any) -> list[str]:
    if node.op_type in NORMS:
        return list(node.input[1:3])
    places = {**CONVOLUTIONS, **PRODUCTS}
    if node.op_type not in places:
        return []
    found = [node.input[places[node.op_type]]]
    if node.op_type in ("Conv", "ConvTranspose", "Gemm", "QLinearConv", "QGemm"):
        bias = {"QLinearConv": 8, "QGemm": 6}.get(node.op_type, 2)
        found += node.input[bias : bias + 1]
    return found


def _shapes(proto: Any, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    node = _inputs(fixed)[0]
    for axis, size in zip(node.type.tensor_type.shape.dim, shape, strict=True):
        axis.dim_value = size
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise InputError(f"its shapes contradict one another: {one_line(error)[:200]}") from None
    known = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        if all(sizes):  # 0 stands for an axis whose size is not known
            known[value.name] = tuple(sizes)
    return known


def _inputs(proto: Any) -> list[Any]:
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _only_input(proto: Any, path: Path) -> list[int | str]:
    inputs = _inputs(proto)
    if len(inputs) != 1:
        names = one_line(", ".join(value.name for value in inputs)) or "none"
        raise InputError(f"{path} has {len(inputs)} inputs ({names}); edgeprune takes one image")
    axes = inputs[0].type.tensor_type.shape.dim  # each with a size, a name or neither
    return [axis.dim_value or one_line(axis.dim_param) or "?" for axis in axes]
