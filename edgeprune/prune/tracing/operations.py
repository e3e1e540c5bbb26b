"""Operator names: one for each function, method and torch.nn layer of a traced graph."""

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

_AUGMENTED = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}
"""Python's ``+=`` and its like, which change their left side."""
_ALIASES = {
    **_AUGMENTED,
    **{"div": "truediv", "subtract": "sub", "multiply": "mul", "divide": "truediv"},
    **{
        "concat": "cat",
        "concatenate": "cat",
        "__matmul__": "matmul",
        "swapaxes": "transpose",
        "swapdims": "transpose",
    },
}
_STOCHASTIC_DEPTH = "torchvision.ops.stochastic_depth"


def operation(node: fx.Node, root: nn.Module | None = None) -> str:
    """Name of the operator that a node calls, in place or not: ``add``, ``relu``, ``cat``.

    Only what Python and torch define is named so: a user's own function or layer of the same
    name gets one that no rule knows.

    Args:
        node: Node of a traced graph.
        root: Module that holds the layers, for a graph without an owner.
    """
    owner = root or node.graph.owning_module
    if node.op == "call_module" and owner is not None:
        kind = type(owner.get_submodule(str(node.target)))
        known = getattr(nn, kind.__name__, None) is kind
        return kind.__name__.lower() if known else f"layer {kind.__name__}"
    name = spelling(node)
    if node.op == "call_function" and not _is_known(name, node.target):
        return f"function {name}"
    name = name.rstrip("_")
    return _ALIASES.get(name, name)


def spelling(node: fx.Node) -> str:
    """Name of a function or method as the model's code spells it."""
    return str(getattr(node.target, "__name__", node.target))


def is_in_place(node: fx.Node) -> bool:
    """Whether the name of a function or method says that it changes its first input."""
    name = spelling(node)
    return name in _AUGMENTED or (name.endswith("_") and not name.startswith("__"))


def _is_known(name: str, target: Any) -> bool:
    if target is getattr or getattr(target, "__module__", "") == _STOCHASTIC_DEPTH:
        return True
    return any(getattr(home, name, None) is target for home in (operator, torch, functional))
