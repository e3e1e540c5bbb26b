"""The layers of a file as onnxruntime runs them: kernel, provider, layout and time of each.

The optimised graph has other nodes than the file: they are fused, moved to the blocked layout
and renamed. A node belongs to the layer whose output it computes, or that stands before it.
"""

import re
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edgeprune.deploy.gate.kernel_layout import BLOCKED, FOLDED, NUMBERED
from edgeprune.text import one_line

# Operators with weights, and where those stand among their inputs.
WEIGHTED = {
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"), 1
    ),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose")
# What may stand between a weight and the layer that reads it.
FORMS = ("DequantizeLinear", "Cast", "Identity", "Transpose", "QuantizeLinear")
INTEGER = (
    *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "QAttention"),
    *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
)
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", *INTEGER)
# What onnxruntime makes of a layer, and what therefore is one in the optimised graph.
KERNELS = {*WEIGHTED, *CONVOLUTIONS, *INTEGER, "FusedGemm", "FusedMatMul", "MatMulNBits"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A node of the optimised graph.

    Attributes:
        name: The layer it is of: a module's name, or that of a node or tensor of the file.
        value: First output of that layer in the file; empty for nodes that onnxruntime added.
        kernel: Its operator.
        provider: Where it runs.
        blocked: Whether it is on the blocked layout.
        weighted: Whether it is a convolution or a product.
        ms: Its share of the measured time.
        share: The same as a part of 1.
    """

    name: str
    value: str
    kernel: str
    provider: str
    blocked: bool
    weighted: bool
    ms: float
    share: float


def layers(
    proto: Any, optimised: bytes, profile: Sequence[Mapping[str, Any]], median_ms: float
) -> tuple[Layer, ...]:
    """The layers in the order in which they ran.

    Args:
        proto: The file.
        optimised: Its optimised graph.
        profile: Time of each node: ``name``, ``op``, ``provider``, ``ns``.
        median_ms: Time of a run; the profiler adds its own, so only its shares count.
    """
    nodes = list(onnx.ModelProto.FromString(optimised).graph.node)
    owners, total = _owners(proto, nodes), sum(each["ns"] for each in profile) or 1
    named = {node.name: place for place, node in enumerate(nodes) if node.name}
    unnamed: dict[str, deque[int]] = defaultdict(deque)
    for number, node in enumerate(nodes):
        if not node.name:
            unnamed[node.op_type].append(number)
    found = []
    for each in profile:
        place: int | None = named.get(each["name"])
        if place is None and unnamed[each["op"]]:  # the profiler calls those "Conv_12"
            place = unnamed[each["op"]].popleft()
        blocked = place is not None and nodes[place].domain == BLOCKED
        name, value = owners[place] if place is not None else (one_line(each["name"]), "")
        found.append(
            Layer(
                name=name,
                value=value,
                kernel=each["op"],
                provider=each["provider"],
                blocked=blocked,
                weighted=each["op"] in KERNELS,
                ms=median_ms * each["ns"] / total,
                share=each["ns"] / total,
            )
        )
    return tuple(found)


def _owners(proto: Any, nodes: Sequence[Any]) -> list[tuple[str, str]]:
    """For each optimised node the layer that it is of: its name, and its output in the file."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    stored = sources(proto)
    claimed: set[str] = set()
    found: list[tuple[str, str]] = [("", "")] * len(nodes)
    late = []
    for place, node in enumerate(nodes):
        result = _result(node)
        maker = None if node.op_type.startswith("Reorder") else makers.get(result)
        if node.op_type in KERNELS and (maker is None or maker.op_type not in WEIGHTED):
            late.append((place, node, maker))
            continue
        if maker is not None and maker.op_type in WEIGHTED:
            claimed.add(result)
        found[place] = _named(maker, result, stored) if maker is not None else _added(node)
    for place, node, maker in late:  # a fused node has the output of what follows the layer
        layer = None if maker is None else _before(maker, makers, claimed)
        layer = layer or _by_weight(node, proto, stored, claimed)
        if layer is None:
            found[place] = _added(node)
            continue
        claimed.add(layer.output[0])
        found[place] = _named(layer, layer.output[0], stored)
    return found


def _result(node: Any) -> str:
    blocked = node.domain == BLOCKED and node.name.endswith("_nchwc")
    return str(node.name.removesuffix("_nchwc") if blocked else node.output[0])


def _before(node: Any, makers: Mapping[str, Any], claimed: set[str]) -> Any:
    """The nearest layer before a node that no other kernel computes."""
    queue, seen = deque([node]), set[str]()
    while queue:
        each = queue.popleft()
        if each.op_type in WEIGHTED:
            if each.output[0] not in claimed:
                return each
            continue
        for name in each.input:
            if name in makers and name not in seen:
                seen.add(name)
                queue.append(makers[name])
    return None


def _by_weight(node: Any, proto: Any, stored: Mapping[str, str], claimed: set[str]) -> Any:
    weights = {re.sub(FOLDED, "", name) for name in node.input}
    for each in proto.graph.node:
        name = weight_of(each)
        if name and each.output[0] not in claimed and stored.get(name, name) in weights:
            return each
    return None


def sources(proto: Any, forms: Collection[str] = FORMS) -> dict[str, str]:
    """Tensors that are a weight, or one in another form, with the weight's own name."""
    found = {tensor.name: tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = node.output[0]
        elif node.op_type in forms and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _named(node: Any, value: str, stored: Mapping[str, str]) -> tuple[str, str]:
    return one_line(layer_name(node, stored.get(weight_of(node), ""))), value


def weight_of(node: Any) -> str:
    """The tensor that a layer reads as its weight; empty for all other nodes."""
    place = WEIGHTED.get(node.op_type)
    return "" if place is None or len(node.input) <= place else str(node.input[place])


def layer_name(node: Any, weight: str) -> str:
    """A layer by the module its weight is of; by its node or output where that says nothing."""
    module = re.sub(r"(\.weight)?(_quantized)?$", "", weight)
    if module and not module.startswith(NUMBERED) and not module.isdecimal():
        return module
    return str(node.name or node.output[0])


def _added(node: Any) -> tuple[str, str]:
    """Nodes that onnxruntime put in: named by the side of them that the author knows."""
    if node.op_type == "ReorderInput":
        return f"before {one_line(node.input[0])}", ""
    if node.op_type == "ReorderOutput":
        return f"after {one_line(node.output[0])}", ""
    return one_line(node.name or node.output[0]), ""


def blocked_values(proto: Any, optimised: bytes) -> set[str]:
    """Outputs, in the file, of the convolutions that run on the blocked layout."""
    nodes = list(onnx.ModelProto.FromString(optimised).graph.node)
    owners = zip(nodes, _owners(proto, nodes), strict=True)
    return {value for node, (_, value) in owners if node.domain == BLOCKED and value}
