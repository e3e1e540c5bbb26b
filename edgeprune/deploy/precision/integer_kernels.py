"""Counts the convolutions that really run on integers, off onnxruntime's optimised graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeprune.text import one_line

INTEGER = ("QLinearConv", "ConvInteger")
FLOAT = ("Conv", "FusedConv", "NhwcFusedConv")


@dataclass(frozen=True)
class IntegerKernels:
    """The convolutions of one model on one machine.

    Attributes:
        integer: How many run on integers.
        floats: Those that do not: name of the weight, and why.
    """

    integer: int
    floats: tuple[tuple[str, str], ...]

    @property
    def fraction(self) -> float:
        """Share of the convolutions that run on integers, 0..1; 1 where there are none."""
        count = self.integer + len(self.floats)
        return self.integer / count if count else 1.0

    def describe(self) -> str:
        """One line: how many, and the names of the rest with the reason."""
        count = self.integer + len(self.floats)
        said = f"{self.integer} of {count} convolutions run on integers"
        left = ", ".join(f"{name} ({why})" for name, why in self.floats)
        return f"{said}; in float: {left}" if left else said


def integer_kernels(optimised: bytes) -> IntegerKernels:
    """Read an optimised graph as onnxruntime runs it here; subgraphs count as well."""
    import onnx

    graph = onnx.ModelProto.FromString(optimised).graph
    integer, floats = 0, []
    for nodes in _graphs(graph):
        makers = {output: node for node in nodes for output in node.output}
        readers = {name: node for node in nodes for name in node.input}
        for node in nodes:
            if node.op_type in INTEGER:
                integer += 1
            elif node.op_type in FLOAT:
                floats.append((_weight(node, makers), _reason(node, makers, readers)))
    return IntegerKernels(integer, tuple(floats))


def _graphs(graph: Any) -> Iterator[Any]:
    yield list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _weight(node: Any, makers: dict[str, Any]) -> str:
    maker = makers.get(node.input[1])
    name = maker.input[0].removesuffix("_quantized") if maker is not None else node.input[1]
    if name.startswith("reorder"):  # blocked weights have lost their name, the bias may have not
        name = node.input[2] if len(node.input) > 2 else node.output[0]
        name = name.removesuffix("_bias").removesuffix(".bias")
    return one_line(name.removesuffix(".weight"))


def _reason(node: Any, makers: dict[str, Any], readers: dict[str, Any]) -> str:
    """Why the runtime could not fuse the pairs around a convolution into an integer kernel."""
    image, weight = (makers.get(name) for name in node.input[:2])
    if weight is None or weight.op_type != "DequantizeLinear":
        return "left in float"
    if image is None or image.op_type != "DequantizeLinear":
        return "what it reads is not quantised"
    reader = readers.get(node.output[0])
    if reader is None or reader.op_type != "QuantizeLinear":
        return "what it makes is not quantised"
    return "no integer kernel for these types here"
