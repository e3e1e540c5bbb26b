"""Builds the ONNX file of a block at fixed widths, to be timed.

Its weights are constants that the runtime unfolds when it opens the file: a few kilobytes go to
the device instead of all weights, and the time of a dense convolution does not depend on them.
"""

from collections.abc import Callable
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from edgeprune.deploy.devices.job import IR_VERSION, OPSET
from edgeprune.deploy.table.network import Block, Op, Width

_CONTEXT_CHANNELS = 8
_POINTWISE = (("kernel_shape", (1, 1)), ("pads", (0, 0, 0, 0)), ("strides", (1, 1)))


def assemble(block: Block, *, batch: int = 1) -> bytes:
    """Build the ONNX file of a block (or of a whole network) at fixed widths.

    Returns:
        A serialised fp32 model, IR 10, opset 20, with one input ``x`` of shape
        (batch, C, *spatial) and one output ``y``. The same block gives the same bytes. It needs
        constant folding, so an optimisation level of at least "basic".
    """
    channels = {block.input: block.input_width.fixed}
    names = {block.input: "x"}
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    for place, op in enumerate(block.ops):
        names[op.output] = "y" if op.output == block.output else f"t{place}"
        inputs = [names[name] for name in op.inputs]
        weights = _WEIGHTS[op.kind](op, channels[op.inputs[0]]) if op.kind in _WEIGHTS else ()
        for shape, value in weights:
            inputs.append(f"w{len(constants)}")
            sizes = f"{inputs[-1]}.shape"
            constants.append(helper.make_tensor(sizes, TensorProto.INT64, [len(shape)], shape))
            nodes.append(_constant(inputs[-1], value * (1 + len(constants) / 1024)))
        nodes.append(helper.make_node(op.kind, inputs, [names[op.output]], **_attributes(op)))
        channels[op.output] = op.width.fixed
    input_shape = [batch, block.input_width.fixed, *block.spatial]
    graph = helper.make_graph(
        nodes or [helper.make_node("Identity", ["x"], ["y"])],
        "unit",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * _output_rank(block))],
        constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model: ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def in_context(block: Block) -> Block:
    """Put what usually lies before a block before it: a convolution (or Gemm) and its ReLU.

    On its own a block would pay for bringing its input into the runtime's own layout, which
    inside a network it does not.
    """
    name, width = f"{block.name}.context", block.input_width
    kind, attributes = ("Conv", _POINTWISE) if block.spatial else ("Gemm", ())
    before = Op(
        kind=kind, inputs=(name,), output=f"{name}.linear", width=width, attributes=attributes
    )
    return Block(
        name=block.name,
        ops=(
            before,
            Op(kind="Relu", inputs=(before.output,), output=block.input, width=width),
            *block.ops,
        ),
        input=name,
        input_width=Width(_CONTEXT_CHANNELS),
        spatial=block.spatial,
    )


def _output_rank(block: Block) -> int:
    flat = any(op.kind in ("Flatten", "Gemm") for op in block.ops)
    return 2 if flat else 2 + len(block.spatial)


def _attributes(op: Op) -> dict[str, Any]:
    attributes: dict[str, Any] = dict(op.attributes) if op.kind != "Clip" else {}
    if op.kind == "Conv":
        attributes["group"] = op.grouping.fixed
    if op.kind == "Gemm":
        attributes["transB"] = 1  # the weight is (out, in), as torch exports it
    return attributes


def _constant(name: str, value: float) -> NodeProto:
    # Every tensor has a value of its own: equal ones would be merged, and the weights of several
    # layers would then take the cache of one.
    filling = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
    return helper.make_node("ConstantOfShape", [f"{name}.shape"], [name], value=filling)


_Constants = tuple[tuple[tuple[int, ...], float], ...]


def _convolution(op: Op, width: int) -> _Constants:
    kernel = dict(op.attributes)["kernel_shape"]
    sides = kernel if isinstance(kernel, tuple) else ()
    fan_in = width // op.grouping.fixed
    for side in sides:
        fan_in *= side
    shape = (op.width.fixed, width // op.grouping.fixed, *sides)  # (out, in / groups, *kernel)
    return (shape, 1 / fan_in), ((op.width.fixed,), 0.01)


def _linear(op: Op, width: int) -> _Constants:
    return ((op.width.fixed, width), 1 / width), ((op.width.fixed,), 0.01)


def _normalisation(op: Op, width: int) -> _Constants:
    return tuple(((width,), value) for value in (1.0, 0.01, 0.01, 1.0))


def _limits(op: Op, width: int) -> _Constants:
    values = dict(op.attributes)
    low, high = values["min"], values["max"]
    return ((), float(low)), ((), float(high))  # type: ignore[arg-type]


_WEIGHTS: dict[str, Callable[[Op, int], _Constants]] = {
    "BatchNormalization": _normalisation,
    "Clip": _limits,
    "Conv": _convolution,
    "Gemm": _linear,
}
