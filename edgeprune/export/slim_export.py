"""Export of the slim networks of one dense network, by cutting what torch exported of it once."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from torch import nn

from edgeprune.deploy.devices.runner import rows
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.table.network import Network
from edgeprune.errors import InputError
from edgeprune.export.exporter import plain, to_onnx
from edgeprune.export.onnx_rules import CannotCutError
from edgeprune.export.open_network import OpenNetwork, input_shape, open_network, outline
from edgeprune.prune.models.outputs import tensors
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.target import Runtime
from edgeprune.text import digest

_AGREE = 1e-3  # of the largest answer; sums in another order differ by a thousandth of that


@dataclass(frozen=True)
class SlimExport:
    """Exports networks that were slimmed from one dense network.

    Attributes:
        traced: The dense network.
        opened: Its graph with open widths; None where torch has to export each network.
        reason: Why it has to.
    """

    traced: Trace
    opened: OpenNetwork | None
    reason: str = ""

    def __call__(self, network: nn.Module) -> onnx.ModelProto:
        """The ONNX model of the dense network or a slim one, see :func:`to_onnx`.

        Raises:
            InputError: torch has to export it, and cannot.
        """
        if self.opened is not None:
            # The dense network may compute weights that its trace, as slim networks do, just has.
            made = self.traced.graph if network is self.traced.model else network
            # A network of another make, such as one that was rewritten, is left to torch.
            with suppress(CannotCutError):
                return self.opened.exported(made)
        return to_onnx(network, input_shape(self.traced))

    def network(self) -> Network:
        """What the latency table times, without blocks where torch has to export each network."""
        if self.opened is not None:
            return self.opened.network
        proto = self(self.traced.model)
        weights = [(tensor.name, *tensor.dims) for tensor in proto.graph.initializer]
        nodes = [node.SerializeToString(deterministic=True) for node in proto.graph.node]
        return replace(outline(self.traced), graph=digest(repr((weights, nodes))))

    def whole(self, widths: Sequence[int]) -> bytes:
        """The file of a slim network with widths (G,), its first channels kept, to be timed."""
        kept = {
            group.name: tuple(range(width))
            for group, width in zip(self.traced.groups, widths, strict=True)
        }
        network = slim(self.traced, PruningPlan(model="timed", kept=kept), fold_constants=False)
        content: bytes = self(network).SerializeToString(deterministic=True)
        return content


def slim_export(traced: Trace) -> SlimExport:
    """Export a traced network once, for all networks that are slimmed from it.

    Two slim networks are cut out of it and run beside torch's own; where one answers otherwise,
    nothing is cut.

    Raises:
        InputError: the network cannot be exported.
    """
    try:
        opened = open_network(traced)
        for plan in _plans(traced):
            _compare(opened, traced, plan)
    except CannotCutError as error:
        return SlimExport(traced, None, str(error))
    return SlimExport(traced, opened)


def _plans(traced: Trace) -> Iterator[PruningPlan]:
    """Every second channel; every third, with every second branch dropped."""
    dropped = {group for block in traced.blocks[::2] for group in block.groups}
    for step, gone in ((2, set[int]()), (3, dropped)):
        kept = {
            group.name: () if place in gone else tuple(range(0, group.width, step))
            for place, group in enumerate(traced.groups)
        }
        yield PruningPlan(model="proof", kept=kept)


def _compare(opened: OpenNetwork, traced: Trace, plan: PruningPlan) -> None:
    """Refuse a graph that answers otherwise than torch when it is cut."""
    network = plain(slim(traced, plan))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(opened.network.input_shape, generator=generator)
    with torch.inference_mode():
        expected = rows([output.numpy() for output in tensors(network(images))])
    try:
        session = open_session(opened.exported(network).SerializeToString(), Runtime())
        found = session.run(images.numpy())
    except InputError as error:
        raise CannotCutError(f"the graph does not run once it is cut: {error}") from None
    largest = np.abs(expected).max()
    if found.shape != expected.shape or np.abs(found - expected).max() > _AGREE * largest:
        raise CannotCutError("the graph gives other answers once it is cut")
