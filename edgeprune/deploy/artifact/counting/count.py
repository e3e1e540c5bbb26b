"""Counts multiply-accumulates and parameters of an ONNX graph, and names what it cannot count.

A count is complete or no verdict: what is not known is listed by operator, never taken as zero.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgeprune.deploy.artifact.counting.operators import FREE, MACS, Call, Shape, UnknownShapeError
from edgeprune.deploy.artifact.counting.shapes import LARGEST, Types, inferred, shape_of, stored
from edgeprune.deploy.artifact.counting.skeleton import UncountableError, pin, skeleton, subgraphs
from edgeprune.deploy.artifact.counting.trips import alone, fed, is_steady, trips
from edgeprune.deploy.artifact.counting.weights import Parameters, key_of, label
from edgeprune.text import one_line

SHAPELESS = "{} of unknown shape"
EMPTY = "{} of an empty tensor"
Observe = Callable[[list[str]], Mapping[str, Shape]]


@dataclass(frozen=True)
class Count:
    """A count and what could not be counted.

    Attributes:
        total: What was counted, at least.
        missing: How many nodes of a kind were not, by words such as ``com.acme.Foo``.
        observed: Tensors whose shapes were read off a run, as inference did not reach them.
    """

    total: int
    missing: Mapping[str, int] = field(default_factory=dict)
    observed: int = 0

    def __add__(self, other: "Count") -> "Count":
        missing = Counter(self.missing) + Counter(other.missing)
        return Count(self.total + other.total, missing, self.observed + other.observed)

    def times(self, number: int) -> "Count":
        """The count of as many runs; what is missing is so once."""
        return replace(self, total=self.total * number)

    @property
    def lacking(self) -> str:
        """What was not counted, in words, the most frequent first; empty where it is complete."""
        most = sorted(self.missing.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{number} {one_line(name)[:80]}" for name, number in most)


def count_macs(proto: Any, shapes: Mapping[str, Shape], observe: Observe | None = None) -> Count:
    """Multiply-accumulates of one run.

    Args:
        proto: The ``onnx.ModelProto``.
        shapes: Shape of each input.
        observe: Asked for the shapes of tensors that inference does not reach.
    """
    try:
        model = skeleton(proto)
    except UncountableError as reason:
        return Count(0, {str(reason): 1})
    pin(model.graph, shapes)
    types = inferred(model)
    found = _Walk(model).graph(model.graph, types)
    unknown = [name for name in _tensors(model.graph) if shape_of(types.get(name)) is None]
    if observe and unknown and found.missing:
        seen = observe(unknown)
        # An empty tensor may be full on real data: as a size of 0 it would count as nothing.
        seen = {name: shape for name, shape in seen.items() if 0 not in shape}
        if seen:
            again = _Walk(model).graph(model.graph, inferred(model, seen))
            found = replace(again, observed=len(seen))
    return _bounded(found)


def count_params(proto: Any) -> Count:
    """Parameters, as ``weights`` defines them."""
    try:
        model = skeleton(proto)
    except UncountableError as reason:
        return Count(0, {str(reason): 1})
    parameters = Parameters()
    parameters.walk(model.graph, {}, {})
    return _bounded(Count(parameters.total, parameters.missing))


def _bounded(found: Count) -> Count:
    return found if found.total < LARGEST else Count(0, {"size that no model has": 1})


def _tensors(graph: Any) -> list[str]:
    return [name for node in graph.node for name in node.output if name]


class _Walk:
    """Counts the graphs of one model."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def graph(self, graph: Any, types: Types, outer: Mapping[str, Any] | None = None) -> Count:
        """Multiply-accumulates of a graph.

        Args:
            graph: The ``onnx.GraphProto``.
            types: Types of its tensors.
            outer: Tensors stored around it, by name.
        """
        constants = {**(outer or {}), **stored(graph)}
        found = Count(0)
        for node in graph.node:
            found += self._node(node, types, constants)
        return found

    def _node(self, node: Any, types: Types, constants: Mapping[str, Any]) -> Count:
        key = key_of(node)
        bodies = list(subgraphs(node))
        if bodies:
            return self._bodies(node, bodies, types, constants)
        if key in FREE:
            return Count(0)
        name = label(key)
        if key not in MACS:
            return Count(0, {name: 1})
        shapes = {tensor: shape_of(types.get(tensor)) for tensor in (*node.input, *node.output)}
        try:
            macs = MACS[key](Call(node, shapes.get))
        except (UnknownShapeError, ArithmeticError, LookupError, ValueError):
            return Count(0, {SHAPELESS.format(name): 1})  # or shapes that fit no formula
        if not macs and any(0 in shape for shape in shapes.values() if shape):
            return Count(0, {EMPTY.format(name): 1})  # of this input: another one is not empty
        return Count(macs) if macs >= 0 else Count(0, {SHAPELESS.format(name): 1})

    def _bodies(
        self, node: Any, bodies: list[Any], types: Types, constants: Mapping[str, Any]
    ) -> Count:
        key, body = key_of(node), bodies[0]
        if key == ("", "If"):
            return _larger([self._body(each, {}, types, constants)[0] for each in bodies])
        looping = key in (("", "Loop"), ("", "Scan"))
        if not looping and key != ("", "SequenceMap"):
            return Count(0, {label(key): 1})  # what it does beside its body is not known
        inputs = fed(node, body, types) if looping else {}
        found, inside = self._body(body, inputs, types, constants)
        if not found.total and not found.missing:
            return found  # however often it runs
        runs = trips(node, body, types, constants) if looping else None
        if runs is None or not is_steady(node, body, inputs, inside):
            return Count(0, {label(key): 1})
        return found.times(runs)

    def _body(
        self, body: Any, inputs: Types, types: Types, constants: Mapping[str, Any]
    ) -> tuple[Count, Types]:
        """One run of a subgraph, inferred as a model of its own, and the types inside."""
        inside = inferred(alone(self.model, body, inputs, types, constants))
        return self.graph(body, types | inside, constants), inside


def _larger(branches: list[Count]) -> Count:
    """The branch that costs more; what either lacks is missing."""
    missing = Counter[str]()
    for branch in branches:
        missing |= Counter(branch.missing)
    return Count(max((branch.total for branch in branches), default=0), missing)
