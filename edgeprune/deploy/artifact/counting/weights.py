"""Counts the parameters of an ONNX graph: stored elements that operators use as learned weights.

Counted once each, wherever they are stored (initialiser, sparse, external, Constant node,
subgraph, function) and in whatever form (quantised, packed, transposed): weights and biases of
the operators that multiply and accumulate, a bias in an Add right behind them, scales and shifts
of normalisations, slopes of PRelu and tables that Gather reads. Statistics of BatchNormalization,
quantisation scales, shapes and other constants are not.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeprune.deploy.artifact.counting.operators import FREE, MACS, ML, Key
from edgeprune.deploy.artifact.counting.shapes import LARGEST, stored
from edgeprune.deploy.artifact.counting.skeleton import subgraphs
from edgeprune.deploy.artifact.counting.weight_places import (
    MOVES,
    PACKED,
    PRODUCTS,
    STORED,
    WEIGHTS,
)

CONTROL = frozenset({("", "If"), ("", "Loop"), ("", "Scan"), ("", "SequenceMap")})
MOST_SOURCES = 1000  # stored tensors in one weight
COMPUTED = "{} with a computed weight"


def key_of(node: Any) -> Key:
    """Domain and operator of a node; the default domain has two names."""
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type)


def label(key: Key) -> str:
    """An operator's name as people write it."""
    return f"{key[0]}.{key[1]}" if key[0] else key[1]


@dataclass(frozen=True)
class _Origin:
    """Where a constant comes from; an activation has none.

    Attributes:
        sources: Stored tensors that it is made of, by number.
        computed: Whether operators changed their values.
        axes: Number of its axes as stored.
    """

    sources: frozenset[int]
    computed: bool = False
    axes: int = 0


Origins = Mapping[str, _Origin]


class Parameters:
    """Walks a graph and its subgraphs, and gathers which stored tensors are parameters."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.sizes: list[int] = []  # elements of each stored tensor, by number
        self.used: set[int] = set()
        self.attributes = 0  # weights that are no tensors
        self.missing: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Elements of all parameters."""
        return self.attributes + sum(self.sizes[number] for number in self.used)

    def walk(self, graph: Any, outer: Origins, fed: Origins) -> None:
        """Count a graph whose names may also come from around it.

        Args:
            graph: The ``onnx.GraphProto``.
            outer: Origins of the constants around it.
            fed: Origins of its own inputs, where they are constant.
        """
        hidden = {value.name for value in graph.input}
        origins = {name: each for name, each in outer.items() if name not in hidden} | dict(fed)
        for name, tensor in stored(graph).items():
            size = math.prod(tensor.dims)
            self.sizes.append(size if min(tensor.dims, default=0) >= 0 else LARGEST)
            origins[name] = _Origin(frozenset({len(self.sizes) - 1}), axes=len(tensor.dims))
        products: set[str] = set()  # outputs to which a bias may be added
        for node in graph.node:
            key = key_of(node)
            self._count(node, key, origins, products)
            for inner in subgraphs(node):
                self.walk(inner, origins, _fed(node, inner, origins))
            origin = _made(node, key, origins)
            for name in node.output:
                if origin and name not in origins:
                    origins[name] = origin

    def _count(self, node: Any, key: Key, origins: Origins, products: set[str]) -> None:
        known = key in MACS or key in FREE or key in CONTROL
        if not known and (key[0] or any(name in origins for name in node.input)):
            self.missing[label(key)] += 1
        if key in PRODUCTS or key in WEIGHTS:
            products.update(node.output)
        if key in PACKED:
            self._unpack(node, origins)
        elif key in WEIGHTS:
            self._use(key, _at(node, WEIGHTS[key], origins), always=True)
        self._use(key, _at(node, PRODUCTS.get(key, ()), origins))
        biases = STORED.get(key, ())
        if key == ("", "Add") and any(name in products for name in node.input):
            biases = (0, 1)
        found = [origin for origin in _at(node, biases, origins) if origin]
        if key == ("", "Gather"):  # of a list it picks a size, of a table a row
            found = [origin for origin in found if origin.axes > 1 and not origin.computed]
        self._use(key, found)
        if key[0] == ML:
            names = ("coefficients", "intercepts")
            self.attributes += sum(len(a.floats) for a in node.attribute if a.name in names)

    def _use(self, key: Key, found: Iterable[_Origin | None], always: bool = False) -> None:
        for origin in found:
            if (origin is None and always) or (origin and origin.computed):
                self.missing[COMPUTED.format(label(key))] += 1
            elif origin:
                self.used |= origin.sources

    def _unpack(self, node: Any, origins: Origins) -> None:
        """Several weights lie in one element of what is stored; the node says how many."""
        origin = _at(node, WEIGHTS[key_of(node)], origins)[0]
        if origin is None or origin.computed:
            self.missing[COMPUTED.format(label(key_of(node)))] += 1
            return
        sides = {a.name: a.i for a in node.attribute if a.name in ("K", "N")}
        for number in origin.sources:
            self.sizes[number] = math.prod(sides.values())
        self.used |= origin.sources


def _at(node: Any, places: Iterable[int], origins: Origins) -> list[_Origin | None]:
    """Origins of those inputs that are given."""
    names = [node.input[place] for place in places if place < len(node.input)]
    return [origins.get(name) for name in names if name]


def _made(node: Any, key: Key, origins: Origins) -> _Origin | None:
    """Origin of what a node makes; None for an activation."""
    found = [origins.get(name) for name in node.input if name]
    parts = [origin for origin in found if origin]
    if key in MOVES:
        return found[0] if found else None
    if key in CONTROL or len(parts) < len(found) or not found:
        return None
    sources = frozenset[int]().union(*(origin.sources for origin in parts))
    plain = key == ("", "Concat") and not any(origin.computed for origin in parts)
    if len(sources) > MOST_SOURCES:
        plain, sources = False, frozenset()
    return _Origin(sources, computed=not plain, axes=parts[0].axes)


def _fed(node: Any, inner: Any, origins: Origins) -> dict[str, _Origin]:
    """Origins of the inputs of a body: Loop and Scan may run over stored weights."""
    given = list(node.input)
    if node.op_type == "Loop":
        given = ["", "", *given[2:]]  # counter and condition
    pairs = zip(inner.input, given, strict=False)
    return {value.name: origins[name] for value, name in pairs if name in origins}
