"""Reads off onnxruntime's optimised graph which convolutions run on the blocked (NCHWc) layout.

The layout pass doubles the speed of a network on x86 and drops convolutions whose widths it
cannot block. The optimised graph says what it did, so this needs no clock and never flakes.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from edgeprune.text import one_line

BLOCKED = "com.microsoft.nchwc"
CONVOLUTIONS = ("Conv", "FusedConv")
FOLDED = r"^(?:Conv[A-Za-z]+Fusion_W_)+"  # before a weight that onnxruntime folded something into
NUMBERED = "onnx::"  # torch's first exporter numbers the weights that it folded


@dataclass(frozen=True)
class Layout:
    """The kernels of one model on one machine.

    Attributes:
        blocked: Convolutions on the blocked layout, by the tensor they write.
        plain: Convolutions that are not, by their weight without ``.weight``: a module's name,
            which stays when other layers go. Names of nodes are numbered, and move.
        reorders: Changes of layout between operators, each with the tensor it converts.
    """

    blocked: tuple[str, ...]
    plain: tuple[str, ...]
    reorders: tuple[str, ...]

    def left(self, reference: "Layout") -> tuple[str, ...]:
        """Plain convolutions beyond those that the reference has too.

        A machine without the blocked layout has none to leave. Numbered weights say nothing
        about which convolution they are of, so of those only a surplus counts.
        """
        if not reference.blocked:
            return ()
        named = Counter(_named(self.plain)) - Counter(_named(reference.plain))
        ours, theirs = _numbered(self.plain), _numbered(reference.plain)
        return (*named.elements(), *ours[len(theirs) :])

    def describe(self) -> str:
        """One line: how many are blocked, and the names of the rest and of every reorder."""
        if self.plain and not self.blocked:
            return f"none of {len(self.plain)} blocked"
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
        blocked=tuple(one_line(node.output[0]) for node in convolutions if node.domain == BLOCKED),
        plain=tuple(_module(node.input[1]) for node in convolutions if node.domain != BLOCKED),
        reorders=tuple(_reorder(node) for node in nodes if node.op_type.startswith("Reorder")),
    )


def _module(weight: str) -> str:
    return one_line(re.sub(FOLDED, "", weight).removesuffix(".weight"))


def _named(weights: tuple[str, ...]) -> list[str]:
    return [weight for weight in weights if not weight.startswith(NUMBERED)]


def _numbered(weights: tuple[str, ...]) -> list[str]:
    return [weight for weight in weights if weight.startswith(NUMBERED)]


def _reorder(node: Any) -> str:
    # Only the plain side of a reorder carries a name that the model's author knows.
    into = node.op_type == "ReorderInput"
    return f"before {one_line(node.input[0])}" if into else f"after {one_line(node.output[0])}"
