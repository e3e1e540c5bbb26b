"""Turns the nodes of an exported graph into operators whose widths are open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper

from edgeprune.arrays import Ints
from edgeprune.deploy.devices.job import OPSET
from edgeprune.deploy.table.graph import Constant, Op, Shape, Value, Width
from edgeprune.export.onnx_rules import CannotCutError, Held, attribute

MEMBERS = 1 << 32  # ids of a group are its number + 1 times this, and the channel
_SIZED = {"Reshape": 1, "Expand": 1, "Resize": 3}  # where an operator is told the shape it makes


@dataclass(frozen=True)
class OpenOps:
    """A graph as operators.

    Attributes:
        source: The image that comes in, and its shape.
        shape: Shape of the image.
        outputs: What comes out, in order.
        ops: Operators on tensors of the network, in order.
        folded: Operators that make weights of weights, in order; they read weights by name.
        weights: Shapes of all weights, given and made, by name.
        fills: Value of weights that are one number throughout, by name.
    """

    source: str
    shape: Shape
    outputs: tuple[str, ...]
    ops: list[Op] = field(default_factory=list)
    folded: list[Op] = field(default_factory=list)
    weights: dict[str, Shape] = field(default_factory=dict)
    fills: dict[str, float] = field(default_factory=dict)


def open_ops(
    graph: onnx.GraphProto,
    known: Mapping[str, Held],
    values: Mapping[str, np.ndarray[Any, Any]],
    full: Sequence[int],
) -> OpenOps:
    """The operators of a graph whose channels were followed.

    Args:
        graph: As :func:`open_graph` returns it.
        known: Its tensors, see :func:`followed`.
        values: Its constants.
        full: Channels of every group (G,).

    Raises:
        CannotCutError: the widths of an operator cannot be changed.
    """
    made = _Opened(graph, known, values, full)
    for node in graph.node:
        made.take(node)
    computed = {name for op in made.found.ops for name in op.outputs}
    if not computed.issuperset(made.found.outputs) or len(set(made.found.outputs)) < len(
        made.found.outputs
    ):
        raise CannotCutError("an output is the input, a constant, or another output")
    return made.found


class _Opened:
    def __init__(
        self,
        graph: onnx.GraphProto,
        known: Mapping[str, Held],
        values: Mapping[str, np.ndarray[Any, Any]],
        full: Sequence[int],
    ) -> None:
        self._known, self._values, self._full = known, values, full
        image, *parameters = (value.name for value in graph.input)
        outputs = tuple(value.name for value in graph.output)
        self.found = OpenOps(image, self._shape(image), outputs)
        self.found.weights.update((name, self._shape(name)) for name in parameters)

    def take(self, node: onnx.NodeProto) -> None:
        """Add one node, after all those it reads."""
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            raise CannotCutError(f"{node.op_type} ({node.output[0]}) holds a graph of its own")
        if node.output[0] in self._values:
            return
        constant = self.found.weights.keys() | self._values.keys() | {""}
        folds = constant.issuperset(node.input)
        inputs = self._sized(node) or [self._input(node, p, folds) for p in range(len(node.input))]
        outputs = [name for name in node.output if name]
        op = Op(
            kind=node.op_type,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            shapes=tuple(map(self._shape, outputs)),
            attributes=tuple(sorted(self._attributes(node).items())),
        )
        (self.found.folded if folds else self.found.ops).append(op)
        if folds:
            self.found.weights.update(zip(op.outputs, op.shapes, strict=True))

    def _shape(self, name: str) -> Shape:
        held = self._known[name]
        return self._open(held.shape, held.ids)

    def _open(self, shape: Sequence[int], ids: Mapping[int, Ints]) -> Shape:
        return tuple(
            self._width(ids[axis]) if axis in ids else Width(size)
            for axis, size in enumerate(shape)
        )

    def _width(self, ids: Ints) -> Width:
        """How many positions are left at open widths."""
        terms = []
        for group in np.unique(ids[ids > 0] // MEMBERS):
            _, times = np.unique(ids[ids // MEMBERS == group], return_counts=True)
            if len(times) != self._full[group - 1] or len(set(times.tolist())) > 1:
                raise CannotCutError("channels of one group are read apart from each other")
            terms.append((int(group) - 1, int(times[0])))
        return Width(int((ids == 0).sum()), tuple(terms))

    def _input(self, node: onnx.NodeProto, place: int, folds: bool) -> str | Constant:
        name = str(node.input[place])
        if name in self._values:
            return self._constant(node, place)
        if name in self.found.weights and not folds:
            return Constant(shape=self.found.weights[name], name=name)
        return name

    def _constant(self, node: onnx.NodeProto, place: int) -> Constant:
        """A constant of the graph; where it has channels it must be one number throughout."""
        value = self._values[node.input[place]]
        ids = self._wanted(node, place, value.shape)
        shape = self._open(value.shape, ids)
        if not ids:
            content = np.ascontiguousarray(value).tobytes()
            return Constant(shape=shape, dtype=str(value.dtype), content=content)
        if value.dtype != np.float32 or (value != value.flat[0]).any():
            raise CannotCutError(f"{node.op_type} ({node.output[0]}) has a constant for channels")
        name = f"{node.output[0]}.{place}"
        self.found.weights[name], self.found.fills[name] = shape, float(value.flat[0])
        return Constant(shape=shape, name=name)

    def _wanted(self, node: onnx.NodeProto, place: int, shape: tuple[int, ...]) -> dict[int, Ints]:
        """Ids that a constant takes from what it is joined with, by axis."""
        source, made = self._known[node.input[0]], self._known[node.output[0]]
        if node.op_type in ("BatchNormalization", "InstanceNormalization"):
            found = {0: source.along(1)}
        elif node.op_type in ("Conv", "ConvTranspose"):
            found = {0: made.along(1)} if place == 2 else {}
        else:
            back = len(made.shape) - len(shape)
            found = {
                axis: made.along(axis + back)
                for axis, size in enumerate(shape)
                if back >= 0 and made.shape[axis + back] == size
            }
        if node.op_type in ("MatMul", "Slice", "Gather", "Pad", "Concat", "Tile"):
            found = {}
        return {axis: ids for axis, ids in found.items() if ids.any()}

    def _sized(self, node: onnx.NodeProto) -> list[str | Constant] | None:
        """Inputs of an operator that is told sizes; None for one that is not."""
        name, made = node.input[0], self._shape(node.output[0])
        if node.op_type == "Split":
            axis = attribute(node, "axis", 0) % len(made)
            return [name, _sizes(tuple(self._shape(one)[axis] for one in node.output))]
        if node.op_type == "Slice":
            return self._sliced(node)
        place = _SIZED.get(node.op_type, 0)
        if not place or len(node.input) <= place or not node.input[place]:
            return None
        rest = [self._input(node, p, folds=False) for p in range(1, place)]
        return [name, *rest, _sizes(made)]

    def _sliced(self, node: onnx.NodeProto) -> list[str | Constant]:
        held = self._known[node.input[0]]
        starts, ends, axes, steps = (
            self._values[node.input[place]].tolist() if len(node.input) > place else []
            for place in (1, 2, 3, 4)
        )
        axes = axes or list(range(len(starts)))
        bounds: list[list[Width]] = [[], []]
        for place, axis in enumerate(axis % len(held.shape) for axis in axes):
            if axis in held.ids and steps and steps[place] != 1:
                raise CannotCutError(f"Slice ({node.output[0]}) skips channels")
            for own, bound in zip(bounds, (starts[place], ends[place]), strict=True):
                own.append(Width(bound))
                if axis in held.ids:
                    own[-1] = self._width(held.ids[axis][:bound])
        named = [
            self._constant(node, place) for place in range(3, len(node.input)) if node.input[place]
        ]
        return [str(node.input[0]), *(_sizes(tuple(own)) for own in bounds), *named]

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Value]:
        """Attributes that are not what they are by default anyway."""
        defaults = defs.get_schema(node.op_type, OPSET, node.domain).attributes
        found: dict[str, Value] = {}
        for one in node.attribute:
            value = helper.get_attribute_value(one)
            value = value.decode() if isinstance(value, bytes) else value
            value = tuple(value) if isinstance(value, list) else value
            default = defaults[one.name].default_value
            known = helper.get_attribute_value(default) if default.name else None
            if value != (known.decode() if isinstance(known, bytes) else known):
                found[one.name] = value
        if node.op_type in ("Conv", "ConvTranspose"):
            found["group"] = self._grouping(node)
        if node.op_type == "Split":
            found.pop("num_outputs", None)
        if found.get("group") == Width(1):
            del found["group"]
        return found

    def _grouping(self, node: onnx.NodeProto) -> Width:
        """Groups of a convolution; where it loses whole ones they follow the width it reads."""
        groups, weight = attribute(node, "group", 1), self._known[node.input[1]]
        if groups == 1 or 1 in weight.ids:
            return Width(groups)
        each = self._known[node.input[0]].shape[1] // groups
        reads = self._shape(node.input[0])[1]
        if any(count % each for count in (reads.fixed, *(times for _, times in reads.terms))):
            raise CannotCutError(f"{node.op_type} ({node.output[0]}) loses parts of its groups")
        return Width(reads.fixed // each, tuple((g, times // each) for g, times in reads.terms))


def _sizes(sizes: Shape) -> Constant:
    return Constant(shape=(Width(len(sizes)),), dtype="int64", sizes=sizes)
