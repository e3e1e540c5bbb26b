"""What each ONNX operator does to the channels of the tensors that it reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgeprune.arrays import Ints
from edgeprune.deploy.devices.job import OPSET
from edgeprune.errors import InputError

_ELEMENTWISE = (
    *("Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu"),
    *("Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid"),
    *("HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min"),
    *("Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round"),
    *("Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh"),
    *("ThresholdedRelu", "Where", "Xor"),
)
_KEEPING = (
    *("AveragePool", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "Hardmax", "LogSoftmax"),
    *("LpNormalization", "LpPool", "MaxPool", "Resize", "Softmax"),
)
_MOVING = (
    *("Concat", "DepthToSpace", "Expand", "Flatten", "Reshape", "Slice", "SpaceToDepth"),
    *("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
_NORMALISING = "BatchNormalization", "InstanceNormalization"
_REDUCING = tuple(f"Reduce{how}" for how in ("L1", "L2", "Max", "Mean", "Min", "Prod", "Sum"))


class CannotCutError(InputError):
    """A graph whose widths cannot be changed; the message names the operator."""


@dataclass(frozen=True)
class Held:
    """A tensor of the dense network.

    Attributes:
        shape: Its shape.
        ids: Ids (size,) of the positions, by axis; axes without prunable channels are left out.
        is_open: Whether it takes the ids that an operator asks for: a constant of the graph,
            which no parameter has a part in.
    """

    shape: tuple[int, ...]
    ids: Mapping[int, Ints] = field(default_factory=dict)
    is_open: bool = False

    def along(self, axis: int) -> Ints:
        """Ids along an axis, 0 where nothing can be pruned."""
        return self.ids.get(axis, np.zeros(self.shape[axis], np.int64))


Inputs = Sequence[Held | None]
Shapes = Sequence[tuple[int, ...]]
Found = list[dict[int, Ints]]
Values = Mapping[str, np.ndarray[Any, Any]]


def ids_after(node: onnx.NodeProto, inputs: Inputs, made: Shapes, values: Values) -> Found:
    """Ids of each tensor that a node makes, by axis.

    Raises:
        CannotCutError: no rule is known, or channels are joined that the trace keeps apart.
    """
    if not any(one is not None and one.ids for one in inputs):
        return [{} for _ in made]
    rule = _RULES.get(node.op_type)
    if rule is None:
        raise CannotCutError(f"no rule for {node.op_type} on channels ({node.output[0]})")
    return rule(node, inputs, made, values)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute, or what it is where it is left out."""
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def same(node: onnx.NodeProto, left: Ints, right: Ints) -> Ints:
    """Ids that two operands must agree in."""
    if not np.array_equal(left, right):
        raise CannotCutError(f"{node.op_type} ({node.output[0]}) joins channels of its own accord")
    return left


def _elementwise(node: onnx.NodeProto, inputs: Inputs, made: Shapes, _: Values) -> Found:
    shape = made[0]
    return [{axis: _agreed(node, inputs, axis - len(shape), shape) for axis in range(len(shape))}]


def _agreed(node: onnx.NodeProto, inputs: Inputs, back: int, shape: tuple[int, ...]) -> Ints:
    """Ids along the axis ``back`` (counted from behind) of a broadcast."""
    size, found = shape[back], None
    for one in inputs:
        if one is None or one.is_open or len(one.shape) < -back or one.shape[back] != size:
            continue
        own = one.along(len(one.shape) + back)
        found = own if found is None else same(node, found, own)
    return np.zeros(size, np.int64) if found is None else found


def _keeping(node: onnx.NodeProto, inputs: Inputs, made: Shapes, _: Values) -> Found:
    source = _first(inputs)
    for axis in source.ids:
        if made[0][axis] != source.shape[axis]:
            raise CannotCutError(f"{node.op_type} ({node.output[0]}) resizes a channel axis")
    return [dict(source.ids) for _ in made]


def _normalising(node: onnx.NodeProto, inputs: Inputs, made: Shapes, values: Values) -> Found:
    for one in inputs[1:]:
        if one is not None and not one.is_open:
            same(node, one.along(0), _first(inputs).along(1))
    return [dict(_first(inputs).ids), *({} for _ in made[1:])]


def _layer_norm(node: onnx.NodeProto, inputs: Inputs, made: Shapes, values: Values) -> Found:
    source = _first(inputs)
    for one in inputs[1:]:
        for axis in range(len(one.shape) if one and not one.is_open else 0):
            same(node, _weight(one).along(axis), source.along(axis + _offset(source, one)))
    return [dict(source.ids), *({} for _ in made[1:])]


def _offset(source: Held, one: Held | None) -> int:
    return len(source.shape) - len(_weight(one).shape)


def _reducing(node: onnx.NodeProto, inputs: Inputs, made: Shapes, values: Values) -> Found:
    source = _first(inputs)
    axes = attribute(node, "axes")
    if len(node.input) > 1 and node.input[1] in values:
        axes = values[node.input[1]].tolist()
    gone = {axis % len(source.shape) for axis in axes or range(len(source.shape))}
    left = [axis for axis in range(len(source.shape)) if axis not in gone]
    at = {axis: axis if attribute(node, "keepdims", 1) else left.index(axis) for axis in left}
    return [{at[axis]: ids for axis, ids in source.ids.items() if axis in at}]


def _moving(node: onnx.NodeProto, inputs: Inputs, made: Shapes, values: Values) -> Found:
    """Operators that only move values: what they do to ids they do to a tensor of ids."""
    data = [
        place
        for place, one in enumerate(inputs)
        if one is not None and (node.op_type == "Concat" or place == 0)
    ]
    feeds = {name: values[name] for name in node.input if name in values}
    found: Found = [{} for _ in made]
    for axis in {axis for place in data for axis in _weight(inputs[place]).ids}:
        table = np.zeros(1, np.int64)  # ids by place; 0 stands for what is put in between
        for place in data:
            held = _weight(inputs[place])
            feeds[node.input[place]] = _spread(len(table), axis, held.shape)
            table = np.append(table, held.along(axis))
        for own, places in zip(found, run(node, feeds), strict=True):
            for at, ids in _read(node, places, table):
                if at in own:
                    raise CannotCutError(f"{node.op_type} ({node.output[0]}) mixes two axes")
                own[at] = ids
    return found


def _spread(first: int, axis: int, shape: tuple[int, ...]) -> Ints:
    """A tensor of the places along an axis, counted from ``first``."""
    view = [-1 if d == axis else 1 for d in range(len(shape))]
    counted = np.arange(first, first + shape[axis]).reshape(view)
    return np.ascontiguousarray(np.broadcast_to(counted, shape))


def _read(node: onnx.NodeProto, places: Ints, table: Ints) -> list[tuple[int, Ints]]:
    """The axis along which ids differ, and the ids; none where all of them are 0."""
    spread = table[places]
    axes = _varying(spread)
    if not axes and not spread.any():
        return []
    if not axes:  # channels that stay or go as one
        axes = _varying(places)
    if len(axes) != 1:
        raise CannotCutError(f"{node.op_type} ({node.output[0]}) spreads channels over two axes")
    others = tuple(0 if d != axes[0] else slice(None) for d in range(spread.ndim))
    return [(axes[0], spread[others])]


def _varying(tensor: Ints) -> list[int]:
    return [d for d in range(tensor.ndim) if (tensor != tensor.take([0], d)).any()]


def _padding(node: onnx.NodeProto, inputs: Inputs, made: Shapes, values: Values) -> Found:
    source, pads = _first(inputs), values.get(node.input[1])
    if pads is None or (len(node.input) > 3 and node.input[3]):
        raise CannotCutError(f"no rule for Pad of chosen axes on channels ({node.output[0]})")
    front, back = np.split(pads, 2)
    return [{axis: np.pad(ids, (front[axis], back[axis])) for axis, ids in source.ids.items()}]


def run(node: onnx.NodeProto, feeds: Values) -> list[Any]:
    """What an operator makes of values, by the reference implementation of ONNX."""
    evaluator = ReferenceEvaluator(node, opsets={"": OPSET})
    return list(evaluator.run(None, {name: feeds[name] for name in node.input if name}))


def _convolution(node: onnx.NodeProto, inputs: Inputs, made: Shapes, _: Values) -> Found:
    source, weight = _first(inputs), _weight(inputs[1])
    if attribute(node, "group", 1) == 1:
        same(node, source.along(1), weight.along(1))
    return [{1: _biased(node, inputs, weight.along(0))}]


def _transposed(node: onnx.NodeProto, inputs: Inputs, made: Shapes, _: Values) -> Found:
    source, weight = _first(inputs), _weight(inputs[1])
    same(node, source.along(1), weight.along(0))
    if attribute(node, "group", 1) == 1:
        return [{1: _biased(node, inputs, weight.along(1))}]
    if weight.shape[1] != 1:
        raise CannotCutError("no rule for ConvTranspose in groups")
    return [{1: _biased(node, inputs, source.along(1))}]


def _biased(node: onnx.NodeProto, inputs: Inputs, ids: Ints) -> Ints:
    if len(inputs) > 2 and inputs[2] is not None and not inputs[2].is_open:
        same(node, inputs[2].along(len(inputs[2].shape) - 1), ids)
    return ids


def _product(node: onnx.NodeProto, inputs: Inputs, made: Shapes, _: Values) -> Found:
    left, right = _first(inputs), _weight(inputs[1])
    if min(len(left.shape), len(right.shape)) < 2:
        raise CannotCutError("no rule for MatMul with a vector")
    rank = len(made[0])
    same(node, left.along(len(left.shape) - 1), right.along(len(right.shape) - 2))
    ids = {axis: _agreed(node, inputs[:2], axis - rank, made[0]) for axis in range(rank - 2)}
    ids[rank - 2] = left.along(len(left.shape) - 2)
    ids[rank - 1] = right.along(len(right.shape) - 1)
    return [ids]


def _gemm(node: onnx.NodeProto, inputs: Inputs, made: Shapes, _: Values) -> Found:
    left, right = _first(inputs), _weight(inputs[1])
    a, b = attribute(node, "transA", 0), attribute(node, "transB", 0)
    same(node, left.along(1 - a), right.along(b))
    return [{0: left.along(a), 1: _biased(node, inputs, right.along(1 - b))}]


def _first(inputs: Inputs) -> Held:
    return _weight(inputs[0])


def _weight(one: Held | None) -> Held:
    if one is None:
        raise CannotCutError("an operator without its input")
    return one


_RULES: dict[str, Callable[[onnx.NodeProto, Inputs, Shapes, Values], Found]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_KEEPING, _keeping),
    **dict.fromkeys(_MOVING, _moving),
    **dict.fromkeys(_NORMALISING, _normalising),
    **dict.fromkeys(_REDUCING, _reducing),
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _product,
    "Pad": _padding,
}
