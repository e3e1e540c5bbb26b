"""A traced network exported once: its blocks for the table, and any slim network without torch."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from torch import nn

from edgeprune.arrays import Ints
from edgeprune.deploy.table.assemble import with_weights
from edgeprune.deploy.table.network import Network
from edgeprune.errors import InputError
from edgeprune.export.blocks import cut
from edgeprune.export.cut_weights import CutWeights, without_norms
from edgeprune.export.onnx_channels import followed
from edgeprune.export.onnx_rules import CannotCutError
from edgeprune.export.open_graph import open_graph
from edgeprune.export.open_ops import MEMBERS, open_ops
from edgeprune.prune.space.widths import channels_per_member
from edgeprune.prune.tracing.trace import Layout, Trace


@dataclass(frozen=True)
class OpenNetwork:
    """A network exported with open widths.

    Attributes:
        network: Its blocks; group i of it is ``trace.groups[i]``.
        weights: How the weights come from those of a torch network.
    """

    network: Network
    weights: CutWeights

    def exported(self, network: nn.Module) -> onnx.ModelProto:
        """The ONNX model of a slim network of the same make, dense included.

        Its answers are those of what torch would export; names and order may differ.

        Raises:
            CannotCutError: the weights fit no widths.
        """
        widths, values = self.weights.of(network)
        if any(
            not width and group not in self.network.droppable for group, width in enumerate(widths)
        ):
            raise CannotCutError("the network lacks weights that every slim one has")
        block = self.network.at(widths)
        named = {one.name for op in block.ops for one in op.constants if one.is_weight}
        if missing := named - values.keys():
            raise CannotCutError(f"the network has no {min(missing)}")
        return with_weights(block, values)


def open_network(trace: Trace) -> OpenNetwork:
    """Export a traced network with open widths, at the shape it was traced with.

    Raises:
        InputError: the model cannot be exported, or its channels cannot be followed through
            the graph; the message names the operator.
    """
    # Functional layers are modules there, as in every slim network.
    graph = open_graph(trace.graph, input_shape(trace))
    aliases = _aliases(trace.graph)
    given: dict[str, dict[int, Ints]] = defaultdict(dict)
    for (name, axis), layout in trace.tensors.items():
        for alias in (name, *aliases.get(name, ())):
            given[alias][axis] = _ids(layout)
    known, values = followed(graph, given)
    network = outline(trace)
    opened = open_ops(graph, known, values, network.full)
    folded = without_norms(opened.ops, opened.outputs)
    parameters = [value.name for value in graph.input][1:]
    weights = CutWeights(
        given={name: opened.weights[name] for name in parameters},
        aliases=aliases,
        fills={name: (opened.weights[name], value) for name, value in opened.fills.items()},
        folded=opened.folded,
        folds=folded.folds,
        full=network.full,
    )
    blocks = cut(opened, folded.ops)
    return OpenNetwork(replace(network, blocks=blocks, outputs=opened.outputs), weights)


def outline(trace: Trace) -> Network:
    """The groups of a traced network, its blocks not yet known."""
    return Network(
        blocks=(),
        full=tuple(group.width for group in trace.groups),
        branches=tuple(block.groups for block in trace.blocks),
        input_shape=input_shape(trace),
        owned=tuple(map(channels_per_member, trace.groups)),
    )


def input_shape(trace: Trace) -> tuple[int, ...]:
    """Shape of the input that a network was traced with.

    Raises:
        InputError: nothing of it was traced.
    """
    source = next((node for node in trace.graph.graph.nodes if node.op == "placeholder"), None)
    if source is None:
        raise InputError("nothing of the model was traced; `edgeprune channels` says why")
    return tuple(int(size) for size in source.meta["tensor_meta"].shape)


def _ids(layout: Layout) -> Ints:
    free = layout.group < 0
    found: Ints = np.where(free, 0, (layout.group + 1) * MEMBERS + layout.member)
    return found


def _aliases(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """All other names of tensors that a model has under several."""
    names: dict[int, list[str]] = defaultdict(list)
    tensors: list[tuple[str, Any]] = list(model.named_parameters(remove_duplicate=False))
    tensors += model.named_buffers(remove_duplicate=False)
    for name, tensor in tensors:
        names[id(tensor)].append(name)
    return {
        name: tuple(other for other in same if other != name)
        for same in names.values()
        for name in same
        if len(same) > 1
    }
