"""Which convolutions onnxruntime really runs on the blocked layout, read off its own graph.

The layout pass doubles the speed of a network on x86 and drops convolutions whose widths it
cannot block. What it did stands in the optimised graph, so this needs no clock and never flakes.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

BLOCKED = "com.microsoft.nchwc"
CONVOLUTIONS = ("Conv", "FusedConv")


@dataclass(frozen=True)
class Layout:
    """The kernels of one model on one machine.

    Attributes:
        blocked: Convolutions on the blocked layout, by name.
        plain: Convolutions that are not, by name.
        reorders: Changes of layout between operators, each with the tensor it converts.
        operators: How often each operator occurs.
    """

    blocked: tuple[str, ...]
    plain: tuple[str, ...]
    reorders: tuple[str, ...]
    operators: dict[str, int]

    def left(self, reference: "Layout") -> tuple[str, ...]:
        """Plain convolutions beyond those that the reference has too.

        A machine without the blocked layout has none to leave.
        """
        if not reference.blocked:
            return ()
        return tuple(name for name in self.plain if name not in reference.plain)

    def describe(self) -> str:
        """One line: how many are blocked, and the names of the rest and of every reorder."""
        parts = [f"{len(self.blocked)} of {len(self.blocked) + len(self.plain)} blocked"]
        if self.plain:
            parts.append("plain: " + ", ".join(self.plain))
        if self.reorders:
            parts.append("reorders: " + ", ".join(self.reorders))
        return "; ".join(parts)


def layout(optimised: bytes) -> Layout:
    """Read an optimised graph; its weights are not needed."""
    import onnx

    nodes = onnx.ModelProto.FromString(optimised).graph.node
    convolutions = [node for node in nodes if node.op_type in CONVOLUTIONS]
    return Layout(
        blocked=tuple(_name(node) for node in convolutions if node.domain == BLOCKED),
        plain=tuple(_name(node) for node in convolutions if node.domain != BLOCKED),
        reorders=tuple(_reorder(node) for node in nodes if node.op_type.startswith("Reorder")),
        operators=dict(Counter(node.op_type for node in nodes)),
    )


def _name(node: Any) -> str:
    return str(node.name or node.output[0]).removesuffix("_nchwc")


def _reorder(node: Any) -> str:
    # Only the plain side of a reorder carries a name that the model's author knows.
    into = node.op_type == "ReorderInput"
    return f"before {node.input[0]}" if into else f"after {node.output[0]}"
