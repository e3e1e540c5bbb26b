"""Channel groups of an ONNX graph, and the same graph with one group wider or narrower.

Widened channels have zero weights on both sides, so the answers stay; narrowed ones lose the
last channels, which tells the speed alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import numpy_helper

from edgeprune.deploy.artifact.counting.shapes import shape_of, types_of
from edgeprune.deploy.artifact.edits import copy_of

# Operators that leave every channel where it is, with one tensor in and one out.
PASSING = {
    *("Relu", "Clip", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
    *("Softplus", "Mish", "Gelu", "Identity", "Dropout", "Cast", "MaxPool", "AveragePool"),
    *("GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "PRelu"),
}
JOINING = {"Add", "Mul", "Sub", "Max", "Min", "Sum"}  # no Div: new channels would be 0 / 0
# Where the parameters of one value a channel stand, and what a channel more is filled with: a
# BatchNorm's variance may not be zero.
PER_CHANNEL = {"BatchNormalization": {1: 0.0, 2: 0.0, 3: 0.0, 4: 1.0}, "PRelu": {1: 0.0}}


@dataclass(frozen=True)
class Slice:
    """The axis of a weight that a group's channels lie on, and what new ones are filled with."""

    weight: str
    axis: int
    filled: float = 0.0


@dataclass(eq=False)  # every group is one of its own
class Group:
    """Tensors whose channels must be as many.

    Attributes:
        width: Number of channels.
        values: Names of the tensors.
        slices: Weights that have one slice a channel.
        grouped: First outputs of depthwise convolutions, whose ``group`` follows the width.
        makers: First outputs of the layers that make the channels.
        fixed: Operator that holds the width; empty where it may change.
    """

    width: int = 0
    values: set[str] = field(default_factory=set)
    slices: set[Slice] = field(default_factory=set)
    grouped: set[str] = field(default_factory=set)
    makers: list[str] = field(default_factory=list)
    fixed: str = ""


def groups_of(proto: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Group]:
    """The group of every tensor with channels.

    Args:
        proto: A model without Constant nodes (``copy_of``).
        shapes: Shapes of its tensors, as far as they are known.
    """
    found = _Coupling(proto, shapes)
    for node in proto.graph.node:
        found.follow(node)
    ends = [*proto.graph.input, *proto.graph.output]
    for value in ends:
        found.hold([value.name], "the model's input or output")
    return found.groups()


def resized(proto: Any, groups: Sequence[Group], widths: Sequence[int]) -> Any:
    """A copy in which each group has the width beside it."""
    edited = copy_of(proto)
    weights = {tensor.name: tensor for tensor in edited.graph.initializer}
    nodes = {node.output[0]: node for node in edited.graph.node if node.output}
    for group, width in zip(groups, widths, strict=True):
        for part in group.slices:
            tensor = weights[part.weight]
            values = _fitted(numpy_helper.to_array(tensor), part, width)
            tensor.CopyFrom(numpy_helper.from_array(values, part.weight))
        for name in group.grouped:
            next(a for a in nodes[name].attribute if a.name == "group").i = width
    del edited.graph.value_info[:]  # of the widths before
    return edited


def _fitted(values: Any, part: Slice, width: int) -> Any:
    has = values.shape[part.axis]
    if width <= has:
        return np.ascontiguousarray(np.take(values, range(width), part.axis))
    more = [(0, width - has if axis == part.axis else 0) for axis in range(values.ndim)]
    return np.pad(values, more, constant_values=values.dtype.type(part.filled))


class _Coupling:
    """A union-find over tensors, with what hangs on each set of them."""

    def __init__(self, proto: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
        offered = {value.name for value in proto.graph.input}
        self.weights = {k: dims for k, dims in self.weights.items() if k not in offered}
        self.parent: dict[str, str] = {}
        self.slices: dict[str, set[Slice]] = defaultdict(set)
        self.grouped: dict[str, set[str]] = defaultdict(set)
        self.makers: dict[str, list[str]] = defaultdict(list)
        self.holds: dict[str, str] = {}

    def find(self, name: str) -> str:
        self.parent.setdefault(name, name)
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def join(self, one: str, other: str) -> None:
        self.parent[self.find(one)] = self.find(other)

    def hold(self, names: Sequence[str], reason: str) -> None:
        for name in names:
            self.holds.setdefault(name, reason)

    def groups(self) -> dict[str, Group]:
        found: dict[str, Group] = defaultdict(Group)
        for name in self.parent:
            group = found[self.find(name)]
            group.values.add(name)
            group.slices |= self.slices[name]
            group.grouped |= self.grouped[name]
            group.makers += self.makers[name]
            group.fixed = group.fixed or self.holds.get(name, "")
            shape = self.shapes.get(name, ())
            if len(shape) > 1:
                group.width = group.width or shape[1]
        return {name: found[self.find(name)] for name in self.parent}

    def follow(self, node: Any) -> None:
        """What a node does to the channels of the tensors it reads and writes."""
        moving = [name for name in node.input if name and name not in self.weights]
        for name in (*moving, *node.output):
            self.find(name)
        known = {"Conv": self._convolution, "Gemm": self._product, "MatMul": self._product}
        if node.op_type in known and len(moving) == 1 and known[node.op_type](node):
            return
        if node.op_type in PASSING and len(moving) == 1 and self._parameters(node):
            self.join(moving[0], node.output[0])
        elif node.op_type in JOINING and self._joins(node, moving):
            for name in moving:
                self.join(name, node.output[0])
        elif node.op_type in ("Flatten", "Squeeze") and self._is_flat(node):
            self.join(moving[0], node.output[0])
        else:
            self.hold([*moving, *node.output], node.op_type)

    def _convolution(self, node: Any) -> bool:
        weight, bias = node.input[1], node.input[2:3]
        if weight not in self.weights or not all(name in self.weights for name in bias):
            return False
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        source, result = node.input[0], node.output[0]
        self.slices[result] |= {Slice(weight, 0), *(Slice(name, 0) for name in bias)}
        if groups == 1:
            self.slices[source].add(Slice(weight, 1))
            self.makers[result].append(result)
            return True
        if self.weights[weight][:2] != (groups, 1):  # groups of several channels
            self.hold([source, result], "a grouped convolution")
            return True
        self.grouped[result].add(result)
        self.join(source, result)
        return True

    def _product(self, node: Any) -> bool:
        weight = node.input[1]
        if weight not in self.weights or len(self.weights[weight]) != 2:
            return False
        if any(a.name == "transA" and a.i for a in node.attribute):
            return False
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        source, result, bias = node.input[0], node.output[0], node.input[2:3]
        if len(self.shapes.get(source, ())) != 2:  # channels are on another axis
            return False
        self.slices[source].add(Slice(weight, 1 if turned else 0))
        self.slices[result].add(Slice(weight, 0 if turned else 1))
        self.makers[result].append(result)
        for name in bias:
            if len(self.weights.get(name, ())) != 1:
                self.hold([result], "the bias of a product")
            self.slices[result].add(Slice(name, 0))
        return True

    def _parameters(self, node: Any) -> bool:
        """Whether what a passing operator reads besides is followed."""
        filled = PER_CHANNEL.get(node.op_type, {})
        for place, name in enumerate(node.input[1:], 1):
            dims = self.weights.get(name, ()) if name else ()
            if place in filled and dims and dims[0] > 1:
                self.slices[node.output[0]].add(Slice(name, 0, filled[place]))
            elif place in filled and node.op_type != "PRelu":
                return False
        return True

    def _joins(self, node: Any, moving: Sequence[str]) -> bool:
        """Whether all tensors of an element-wise operator have the same channels on axis 1."""
        shapes = [self.shapes.get(name, ()) for name in (*moving, *node.output)]
        rank, width = len(shapes[-1]), shapes[-1][1] if len(shapes[-1]) > 1 else 0
        if rank < 2 or any(len(each) != rank or each[1] != width for each in shapes):
            return False
        for name in node.input:
            dims = self.weights.get(name)
            if dims is None or np.prod(dims, dtype=int) == 1:
                continue
            axis = len(dims) - rank + 1  # shapes are aligned at their ends
            if axis < 0 or dims[axis] != width:
                return False
            self.slices[node.output[0]].add(Slice(name, axis))
        return True

    def _is_flat(self, node: Any) -> bool:
        """Whether (N, C, 1, 1) becomes (N, C); a Reshape has its sizes written down."""
        before = self.shapes.get(node.input[0], ())
        after = self.shapes.get(node.output[0], ())
        return len(before) == 4 and before[2:] == (1, 1) and after == before[:2]


def shapes_of(proto: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors whose sizes can all be inferred."""
    known = {name: shape_of(kind) for name, kind in types_of(proto).items()}
    return {name: shape for name, shape in known.items() if shape is not None and all(shape)}
