"""Propagation of channel ids along a traced graph: which channels every tensor carries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgeprune.arrays import Ints
from edgeprune.prune.tracing.calls import (
    NOTHING,
    Call,
    CannotFollowError,
    Plain,
    Value,
    depends,
    leaves,
)
from edgeprune.prune.tracing.coupling import FIXED, Coupling, Flow, fixed
from edgeprune.prune.tracing.fx_graph import NOT_OF_TRACING, source_line


@dataclass(frozen=True)
class Unfollowed:
    """A place that channels could not be followed through; all of them are kept.

    Attributes:
        node: Name of the graph node or of the submodule.
        source: File and line of the model's code.
        reason: One line.
    """

    node: str
    source: str
    reason: str


Rule = Callable[["Propagation", Call], Value]
RuleOf = Callable[[fx.Node, nn.Module | None], tuple[str, Rule | None]]
"""Name and rule of a node that calls something; without a rule all it touches is kept."""


class Propagation:
    """Passes over a graph once; rules ask it to join channels and to note what a tensor holds.

    Args:
        graph: A traced model.
        rule_of: Finds the rules.
        sliceable: Whether a parameter that a node reads may be sliced by its users.
        opaque: Source line and reason of each submodule that could not be traced, by name.

    Attributes:
        coupling: Classes of channel ids.
        tensors: Ids along one axis of a parameter or buffer, by (name, axis).
        flows: The channels of every node that returns one tensor.
        unfollowed: Places where channels were kept for want of a rule.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        rule_of: RuleOf,
        sliceable: Callable[[fx.Node], bool],
        opaque: Mapping[str, tuple[str, str]],
    ) -> None:
        self.coupling = Coupling()
        self.tensors: dict[tuple[str, int], Ints] = {}
        self.flows: dict[fx.Node, Flow] = {}
        self.unfollowed: list[Unfollowed] = []
        self._graph = graph
        self._rule_of, self._sliceable = rule_of, sliceable
        self._opaque = opaque
        self._values: dict[fx.Node, Value] = {}
        self._names: dict[int, str] = {}
        for name, tensor in [*graph.named_parameters(), *graph.named_buffers()]:
            self._names.setdefault(id(tensor), name)

    def run(self) -> None:
        """Give every node its value, in order."""
        for node in self._graph.graph.nodes:
            if node.op == "output":
                self._keep(self._resolve((node.args, node.kwargs)))
                continue
            value = self._propagate(node)
            self._values[node] = value
            if isinstance(value, Flow):
                self.flows[node] = value
            node.meta["channel_dependent"] = bool(depends(value).size)

    def own(self, tensor: Tensor | None, axis: int, ids: Ints) -> None:
        """Note that ``tensor`` holds channels ``ids`` along ``axis``; uses are joined."""
        if tensor is None:
            return
        if len(ids) != tensor.shape[axis]:
            raise CannotFollowError(
                f"{len(ids)} channels meet a tensor with {tensor.shape[axis]} of them"
            )
        key = self._names[id(tensor)], axis
        if key in self.tensors:
            self.coupling.join(self.tensors[key], ids)
        else:
            self.tensors[key] = ids

    def own_by_name(self, name: str, axis: int, ids: Ints) -> None:
        """As ``own``, for a tensor that the graph reads as an attribute."""
        self.own(attrgetter(name)(self._graph), axis, ids)

    def keep_number(self, call: Call) -> None:
        """Keep the channels whose number a node uses as a number, and say so."""
        ids = depends((call.args, call.kwargs))
        self.keep(call, ids, f"{call.name} takes the number of channels as a number")

    def keep(self, call: Call, ids: Ints, reason: str) -> None:
        """Keep channels, and name the node and the reason where they could have gone."""
        if ids.size and self.coupling.roots(ids).any():
            self._report(call, [reason])
            self.coupling.freeze(ids)

    def keep_held(self, flow: Flow) -> None:
        """Keep the whole of a parameter that the graph reads as an attribute, if it is one."""
        if flow.held:
            for axis, size in enumerate(flow.shape):
                self.own_by_name(flow.held, axis, np.zeros(size, np.int64))

    def new_channels(self, tensor: Tensor, axis: int, count: int) -> Ints:
        """Ids of the channels that a layer makes: those of its weight, if seen before."""
        known = self.tensors.get((self._names[id(tensor)], axis))
        return self.coupling.fresh(count) if known is None else known

    def unfollowable(self, node: fx.Node, known: Ints) -> Value:
        """What a node returned, as tensors without channels and plain values.

        ``known`` are the channels a plain value depends on; a tensor made from it keeps them.
        """

        def blank(meta: Any) -> Value:
            if hasattr(meta, "memory_format"):
                self.coupling.freeze(np.append(known, FIXED))
                return fixed(meta.shape)
            if isinstance(meta, (tuple, list)) and not isinstance(meta, torch.Size):
                return tuple(blank(m) for m in meta)
            return Plain(meta, known)

        return blank(node.meta["value"])

    def _propagate(self, node: fx.Node) -> Value:
        if node.op in ("placeholder", "get_attr"):
            return self._given(node)
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        module = self._graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        name, rule = self._rule_of(node, module)
        call = Call(node=node, name=name, args=args, kwargs=kwargs, module=module)
        try:
            if rule is None:
                raise CannotFollowError(self._no_rule(call))
            return rule(self, call)
        except NOT_OF_TRACING:
            raise
        except Exception as error:
            # Whatever an operator does to the ids, the channels it touches are kept.
            self._report(call, str(error).strip().splitlines())
            self._keep((args, kwargs))
            if module is not None:
                self._keep_tensors(module)
            return self.unfollowable(node, NOTHING)

    def _given(self, node: fx.Node) -> Value:
        meta = node.meta.get("tensor_meta")
        if meta is None:
            return Plain(node.meta["value"])
        if node.op == "placeholder":
            return fixed(meta.shape)
        held = fixed(meta.shape, str(node.target))
        if not self._sliceable(node):
            self.keep_held(held)
        return held

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self._values[argument]
        if isinstance(argument, (tuple, list)):
            return type(argument)(self._resolve(a) for a in argument)
        if isinstance(argument, dict):
            return {key: self._resolve(value) for key, value in argument.items()}
        if isinstance(argument, slice):
            start, stop, step = self._resolve((argument.start, argument.stop, argument.step))
            return slice(start, stop, step)
        return argument

    def _keep(self, values: object) -> None:
        for value in leaves(values):
            if isinstance(value, Flow):
                self.keep_held(value)
                self.coupling.join(value.ids, np.zeros(len(value.ids), np.int64))
            elif isinstance(value, Plain) and value.depends.size:
                self.coupling.freeze(value.depends)

    def _keep_tensors(self, module: nn.Module) -> None:
        for tensor in [*module.parameters(), *module.buffers()]:
            for axis, size in enumerate(tensor.shape):
                self.own(tensor, axis, np.zeros(size, np.int64))

    def _report(self, call: Call, reason: list[str]) -> None:
        touched = [v.ids for v in leaves((call.args, call.kwargs)) if isinstance(v, Flow)]
        touched.append(depends((call.args, call.kwargs)))
        if any(self.coupling.roots(ids).any() for ids in touched if ids.size):
            line = reason[0] if reason else f"{call.name} cannot be followed"
            name = str(call.node.target) if call.module is not None else call.node.name
            source = self._opaque[name][0] if name in self._opaque else source_line(call.node)
            self.unfollowed.append(Unfollowed(name, source, line))

    def _no_rule(self, call: Call) -> str:
        if str(call.node.target) in self._opaque:
            return f"cannot be traced: {self._opaque[str(call.node.target)][1]}"
        return f"no rule for {call.name}"
