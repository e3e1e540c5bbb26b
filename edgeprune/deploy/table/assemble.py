"""Builds the ONNX file of a block at fixed widths, to be timed or with the weights of a network.

To be timed, its weights are constants that the runtime unfolds when it opens the file: a few
kilobytes go to the device instead of all weights, and the time of a dense convolution does not
depend on them.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgeprune.deploy.devices.job import IR_VERSION, OPSET
from edgeprune.deploy.table.graph import Constant, Op, Shape, Width, shapes_of, sizes_of
from edgeprune.deploy.table.network import Block

_CONTEXT_CHANNELS = 8
Weights = Mapping[str, np.ndarray[Any, Any]]


def assemble(block: Block) -> bytes:
    """Build the ONNX file of a block (or of a whole network) at fixed widths, to be timed.

    Returns:
        A serialised fp32 model, IR 10, opset 20, with one input ``x`` and the output ``y``;
        further answers follow it. The same block gives the same bytes. It needs constant folding,
        so an optimisation level of at least "basic".
    """
    model = _Model({block.input: "x", block.output: "y"}, None).of(block)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def with_weights(block: Block, weights: Weights) -> ModelProto:
    """Build the model of a block at fixed widths with the weights of a real network.

    Args:
        block: Operators at fixed widths.
        weights: Values of its weights, by name.

    Returns:
        As :func:`assemble`, but tensors keep their names, and nothing has to be folded.
    """
    return _Model({}, weights).of(block)


class _Model:
    """A model that is being built."""

    def __init__(self, names: dict[str, str], weights: Weights | None) -> None:
        self._names, self._weights = names, weights
        self._nodes: list[NodeProto] = []
        self._tensors: dict[str, TensorProto] = {}
        self._unfolded = 0

    def of(self, block: Block) -> ModelProto:
        for op in block.ops:
            self._add(op)
        shapes = shapes_of(block.input, block.shape, block.ops)
        source, result = self._name(block.input), self._name(block.output)
        if source == result or not block.ops:
            source, result = "x", "y"
            self._nodes.append(helper.make_node("Identity", [source], [result]))
        ends = [(source, shapes[block.input]), *self._ends(block, result, shapes)]
        inside, *outside = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(sizes_of(shape)))
            for name, shape in ends
        )
        graph = helper.make_graph(
            self._nodes, "unit", [inside], outside, list(self._tensors.values())
        )
        opset = [helper.make_opsetid("", OPSET)]
        made: ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        return made

    def _ends(
        self, block: Block, result: str, shapes: Mapping[str, Shape]
    ) -> Iterator[tuple[str, Shape]]:
        """Names and shapes of what the model returns."""
        if self._weights is None or not block.answers:  # of what goes on, one is enough
            yield result, shapes[block.output]
        taken = {result} if self._weights is None else set[str]()
        for answer in block.answers:
            name = self._name(answer)
            if name in taken:  # without a branch two outputs may be one tensor
                name = f"{name}.{len(taken)}"
                self._nodes.append(helper.make_node("Identity", [self._name(answer)], [name]))
            taken.add(name)
            yield name, shapes[answer]

    def _name(self, name: str) -> str:
        if self._weights is not None or not name:
            return name
        return self._names.setdefault(name, f"t{len(self._names)}")

    def _add(self, op: Op) -> None:
        inputs = [
            self._name(one) if isinstance(one, str) else self._constant(one, op)
            for one in op.inputs
        ]
        outputs = [self._name(name) for name in op.outputs]
        # Layers and tensors of a real network are spoken of by name; a unit has none to keep.
        name = f"node_{outputs[0]}" if self._weights is not None else None
        made = helper.make_node(op.kind, inputs, outputs, name, **op.plain_attributes)
        self._nodes.append(made)

    def _constant(self, one: Constant, op: Op) -> str:
        shape = sizes_of(one.shape)
        if one.sizes is not None:
            values = np.array(sizes_of(one.sizes), np.int64)
        elif one.content is not None:
            values = np.frombuffer(one.content, one.dtype).reshape(shape)
        elif self._weights is None:
            return self._unfolding(shape, op)
        else:
            name, values = one.name, self._weights[one.name]
            self._tensors[name] = numpy_helper.from_array(values, name)
            return name
        name = f"c{len(self._tensors)}"
        self._tensors[name] = numpy_helper.from_array(values, name)
        return name

    def _unfolding(self, shape: tuple[int, ...], op: Op) -> str:
        """A node that makes a weight when the file is opened."""
        self._unfolded += 1
        name = f"w{self._unfolded}"
        # Every tensor has a value of its own: equal ones would be merged, and the weights of
        # several layers would then take the cache of one.
        value = _about(shape, op) * (1 + self._unfolded / 1024)
        sizes = helper.make_tensor(f"{name}.shape", TensorProto.INT64, [len(shape)], shape)
        filling = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
        self._tensors[sizes.name] = sizes
        self._nodes.append(
            helper.make_node("ConstantOfShape", [sizes.name], [name], value=filling)
        )
        return name


def _about(shape: tuple[int, ...], op: Op) -> float:
    """A value for a weight of an operator that neither lets signals grow nor vanish."""
    if len(shape) < 2:
        return 0.01
    return 1 / (shape[0] if op.kind == "MatMul" else math.prod(shape[1:]))


def convolution(
    source: tuple[str, Width],
    made: tuple[str, Width],
    side: tuple[int, int],
    *,
    kernel: int = 3,
    stride: int = 1,
    batch: int = 1,
) -> Op:
    """A convolution with a bias that keeps the borders.

    Args:
        source: Name and channels of what it reads.
        made: Name and channels of what it makes.
        side: Height and width of what it makes.
        kernel: Side of its kernel, odd.
        stride: Its stride.
        batch: Images per run.
    """
    (name, reads), (output, width) = source, made
    taps = Width(kernel)
    weight = Constant(shape=(width, reads, taps, taps))
    return Op(
        kind="Conv",
        inputs=(name, weight, Constant(shape=(width,))),
        outputs=(output,),
        shapes=((Width(batch), width, *map(Width, side)),),
        attributes=(
            ("kernel_shape", (kernel, kernel)),
            ("pads", (kernel // 2,) * 4),
            ("strides", (stride, stride)),
        ),
    )


def in_context(block: Block) -> Block:
    """Put what usually lies before a block before it: a convolution (or Gemm) and its ReLU.

    On its own a block would pay for bringing its input into the runtime's own layout, which
    inside a network it does not.
    """
    name, linear = f"{block.name}.context", f"{block.name}.context.linear"
    batch, width, *side = block.shape
    narrow = Width(_CONTEXT_CHANNELS)
    if side:
        height, across = sizes_of(tuple(side))
        before = convolution(
            (name, narrow), (linear, width), (height, across), kernel=1, batch=batch.fixed
        )
    else:
        weights = Constant(shape=(width, narrow)), Constant(shape=(width,))
        before = Op(
            kind="Gemm",
            inputs=(name, *weights),
            outputs=(linear,),
            shapes=(block.shape,),
            attributes=(("transB", 1),),
        )
    rectifier = Op(kind="Relu", inputs=(linear,), outputs=(block.input,), shapes=(block.shape,))
    return Block(
        name=block.name,
        ops=(before, rectifier, *block.ops),
        input=name,
        shape=(batch, narrow, *side),
        output=block.output,
        answers=block.answers,
    )
