"""One operator has one name, however a model's code spells it."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from edgeprune.prune.tracing.operations import is_in_place, operation


def relu(x: torch.Tensor) -> torch.Tensor:
    """A user's own function that only bears the name."""
    return x.sin()


class ReLU(nn.Module):
    """A user's own layer that only bears the name."""


def _called(op: str, target: object) -> fx.Node:
    graph = fx.Graph()
    return graph.create_node(op, target, (graph.placeholder("x"),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("op", "target", "name", "in_place"),
    [
        ("call_function", torch.add, "add", False),
        ("call_function", operator.add, "add", False),
        ("call_function", operator.iadd, "add", True),
        ("call_function", operator.itruediv, "truediv", True),
        ("call_method", "add_", "add", True),
        ("call_method", "div", "truediv", False),
        ("call_function", torch.concat, "cat", False),
        ("call_function", F.max_pool2d, "max_pool2d", False),
        ("call_function", F.relu_, "relu", True),
        ("call_function", getattr, "getattr", False),
        ("call_method", "__add__", "__add", False),
        ("call_function", relu, "function relu", False),
    ],
)
def test_functions_and_methods(op: str, target: object, name: str, in_place: bool) -> None:
    node = _called(op, target)
    assert operation(node) == name
    assert is_in_place(node) == in_place


@pytest.mark.parametrize(
    ("layer", "name"),
    [(nn.ReLU(inplace=True), "relu"), (nn.SiLU(), "silu"), (ReLU(), "layer ReLU")],
)
def test_layers_are_named_as_the_functions_they_call(layer: nn.Module, name: str) -> None:
    root = nn.Sequential(layer)
    assert operation(_called("call_module", "0"), root) == name
