"""Channel groups: classes of interchangeable channels, with their names and stages."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import fx, nn

from edgeprune.arrays import Ints
from edgeprune.prune.tracing.coupling import FIXED, Coupling, Flow
from edgeprune.prune.tracing.module_rules import whole_groups
from edgeprune.prune.tracing.residual import Block, common_path, numbered


@dataclass(frozen=True)
class Classes:
    """All prunable classes of a graph, sorted into groups.

    Attributes:
        group: Group of every id by its root, -1 where it may not be pruned, shape (ids,).
        member: Place of the class inside its group, shape (ids,).
        carriers: For every group, the nodes that carry its channels, in graph order.
    """

    group: Ints
    member: Ints
    carriers: tuple[tuple[fx.Node, ...], ...]


def classify(coupling: Coupling, flows: dict[fx.Node, Flow], owned: Iterable[Ints]) -> Classes:
    """Group classes that occur equally often in every tensor, so that any may replace another.

    Args:
        coupling: The finished classes.
        flows: The channels of every node, in graph order.
        owned: Ids that parameters and buffers hold; what owns nothing is not worth pruning.
    """
    carried = _roots(coupling, (flow.ids for flow in flows.values()))
    coupling.join(np.setdiff1d(carried, _roots(coupling, owned)), np.array([FIXED]))
    label = np.zeros(len(coupling), np.int64)  # number of the kind of each root so far, (ids,)
    first = np.full(len(coupling), -1, np.int64)  # where each root first occurs, (ids,)
    labels, seen = 1, 0
    for flow in flows.values():
        if flow.axis is None:
            continue
        roots, at, times = _occurrences(coupling, flow)
        # Two classes stay in one group while every tensor so far held both equally often.
        kinds, kind = np.unique(np.stack([label[roots], times], 1), axis=0, return_inverse=True)
        label[roots] = labels + kind.reshape(-1)
        labels += len(kinds)
        new = first[roots] < 0
        first[roots[new]] = seen + at[new]
        seen += len(flow.ids)
    return _sort(coupling, flows, label, first)


def _roots(coupling: Coupling, many: Iterable[Ints]) -> Ints:
    return np.unique(
        np.concatenate([coupling.roots(ids).ravel() for ids in many] or [np.zeros(1, np.int64)])
    )


def _occurrences(coupling: Coupling, flow: Flow) -> tuple[Ints, Ints, Ints]:
    roots, at, times = np.unique(coupling.roots(flow.ids), return_index=True, return_counts=True)
    keep = roots != FIXED
    return roots[keep], at[keep].astype(np.int64), times[keep].astype(np.int64)


def _sort(coupling: Coupling, flows: dict[fx.Node, Flow], label: Ints, first: Ints) -> Classes:
    classes = np.flatnonzero(first >= 0)
    classes = classes[np.argsort(first[classes])]  # roots in the order of the network
    order: dict[int, int] = {}
    group = np.full(len(label), -1, np.int64)
    member = np.full(len(label), -1, np.int64)
    sizes: list[int] = []
    for root in classes:
        index = order.setdefault(int(label[root]), len(order))
        if index == len(sizes):
            sizes.append(0)
        group[root], member[root] = index, sizes[index]
        sizes[index] += 1
    carriers: list[list[fx.Node]] = [[] for _ in sizes]
    for node, flow in flows.items():
        if flow.axis is not None:
            for index in np.unique(group[coupling.roots(flow.ids)]):
                if index >= 0:
                    carriers[index].append(node)
    return Classes(group, member, tuple(tuple(nodes) for nodes in carriers))


def names(
    graph: fx.GraphModule, carriers: Sequence[Sequence[fx.Node]], blocks: Sequence[Block]
) -> list[str]:
    """A unique, stable name for every group.

    A group is named after the first layer that makes its channels. A residual stream takes the
    module path that its layers share, where no other stream would.
    """
    makers = [_makers(graph, nodes) for nodes in carriers]
    inside = {index for block in blocks for index in block.groups}
    shared = [
        common_path(maker) if len(maker) > 1 and index not in inside else ""
        for index, maker in enumerate(makers)
    ]
    named: list[str] = []
    for maker, path, nodes in zip(makers, shared, carriers, strict=True):
        alone = path and shared.count(path) == 1
        named.append(path if alone else (maker[0] if maker else nodes[0].name))
    return numbered(named)


def _makers(graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> list[str]:
    found: list[str] = []
    for node in nodes:
        if node.op != "call_module" or str(node.target) in found:
            continue
        layer = graph.get_submodule(str(node.target))
        groups = getattr(layer, "groups", 1)
        makes = hasattr(layer, "out_channels") or isinstance(layer, nn.Linear)
        if makes and (groups == 1 or not whole_groups(layer)):
            found.append(str(node.target))
    return found


def stages(
    carriers: Sequence[Sequence[fx.Node]], flows: dict[fx.Node, Flow], blocks: Sequence[Block]
) -> list[int]:
    """Stage of every group: 0 for the finest resolution, then one more for each coarser one.

    A group inside a block counts at the resolution the block ends with; what comes before the
    first block is its stem.
    """
    position = {node: i for i, node in enumerate(flows)}
    inside = {index: block for block in blocks for index in block.groups}
    first = min((position[b.join] for b in blocks), default=-1)
    sizes: list[int] = []
    for index, nodes in enumerate(carriers):
        node = inside[index].join if index in inside else nodes[0]
        if blocks and position[node] < first:
            node = blocks[0].join
        shape, axis = flows[node].shape, flows[node].axis
        sizes.append(math.prod(shape[1:]) // (shape[axis] if axis else 1))
    order = sorted(set(sizes), reverse=True)
    return [order.index(size) for size in sizes]
