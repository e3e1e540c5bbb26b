"""Constants of a traced graph: tensors that do not depend on the content of its input."""

import operator
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.prune.tracing.operations import is_in_place


class Constants:
    """Finds and computes what a graph makes of its parameters, buffers and sizes alone.

    Args:
        graph: A traced model that was run once, so that sizes are in ``node.meta``.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph
        self._known: dict[fx.Node, bool] = {}
        for node in graph.graph.nodes:
            self._is_constant(node)  # in order, so that a deep network needs no deep recursion

    def has(self, argument: Any) -> bool:
        """Whether an argument of a node holds no tensor that is computed from the input."""
        return all(self._is_constant(node) for node in nodes_in(argument))

    def value(self, argument: Any) -> Any:
        """The argument with the values of its nodes; a parameter or buffer is itself."""
        return fx.node.map_arg(argument, self._value)

    def tensor(self, argument: Any) -> Any:
        """The same for a tensor that a layer holds.

        A computed one becomes a parameter where a parameter was trained for it, else a buffer.
        """
        value = self.value(argument)
        if not isinstance(value, Tensor) or self._is_read(argument):
            return value
        value = value.detach().clone(memory_format=torch.contiguous_format)
        sources = (self._value(node) for node in self.sources(argument))
        if any(isinstance(source, nn.Parameter) for source in sources):
            return nn.Parameter(value)
        return value

    def sources(self, argument: Any) -> list[fx.Node]:
        """The parameters and buffers that an argument is computed from, in order."""
        found: dict[fx.Node, None] = {}
        for node in nodes_in(argument):
            if node.op == "get_attr":
                found[node] = None
            elif self._is_constant(node) and "tensor_meta" in node.meta:
                found.update(dict.fromkeys(self.sources((node.args, node.kwargs))))
        return list(found)

    def erase_unused(self) -> None:
        """Erase constants that nothing reads."""
        pure: set[fx.Node] = set()
        for node in self._graph.graph.nodes:
            if _is_pure(node, pure):
                pure.add(node)
        for node in reversed(list(self._graph.graph.nodes)):
            if not node.users and node in pure:
                self._graph.graph.erase_node(node)

    def _is_read(self, argument: Any) -> bool:
        return isinstance(argument, fx.Node) and argument.op == "get_attr"

    def _is_constant(self, node: fx.Node) -> bool:
        if node not in self._known:
            if node.op == "get_attr":
                self._known[node] = node.target != "training"
            elif "tensor_meta" not in node.meta:
                self._known[node] = node.op != "placeholder"
            else:
                known = node.op != "placeholder" and bool(node.all_input_nodes)
                self._known[node] = known and self.has((node.args, node.kwargs))
        return self._known[node]

    def _value(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self._graph)
        if "tensor_meta" not in node.meta:
            return node.meta["value"]
        args, kwargs = self.value(node.args), self.value(node.kwargs)
        target: Any = node.target
        with torch.no_grad():
            if node.op == "call_module":
                return self._graph.get_submodule(target)(*args, **kwargs)
            if node.op == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            return target(*args, **kwargs)


def _is_pure(node: fx.Node, pure: set[fx.Node]) -> bool:
    """Whether a node reads parameters and buffers alone, and changes none of them."""
    if node.op == "get_attr":
        return node.target != "training"
    writes = node.target is operator.setitem or is_in_place(node)
    called = node.op in ("call_function", "call_method") and not writes
    return called and bool(node.all_input_nodes) and pure.issuperset(node.all_input_nodes)


def nodes_in(argument: Any) -> list[fx.Node]:
    """The nodes inside an argument of a node, in order."""
    found: list[fx.Node] = []
    fx.node.map_arg(argument, found.append)
    return found
