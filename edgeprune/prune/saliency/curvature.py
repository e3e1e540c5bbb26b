"""Second-order statistics of ports in the wavelet domain: Fisher weights and Gram matrices.

The loss is the distance from the dense network's own answers, of a classifier the divergence of
its classes, so no labels are needed. Its second-order term is the Fisher information of the
outputs of a layer, taken as uncorrelated between outputs and wavelet coefficients: K-FAC, which
takes *positions* as uncorrelated, in another basis. The band weights are our reconstruction of the
wavelet channel aggregation of GWCS.

References:
    J. Martens, R. Grosse, K-FAC, ICML 2015; C. Wang et al., EigenDamage, ICML 2019.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pywt
import torch
from torch import Tensor, fx

from edgeprune.errors import InputError
from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.saliency.ports import (
    Port,
    by_channel,
    channel_axis,
    find_additions,
    find_ports,
    reader,
    unfolded,
)
from edgeprune.prune.saliency.transform import PIXELS, Basis, basis
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION
from edgeprune.text import did_you_mean

_PROBES = 2
_PIXELS = 512 * 64 * 64  # 512 images of up to 64 pixels a side, 41 of 224
_BATCH_PIXELS = 64 * 32 * 32
_LEAST_IMAGES = 32


@dataclass(frozen=True)
class WaveletOptions:
    """How the statistics are taken.

    Attributes:
        wavelet: A discrete wavelet that PyWavelets knows, or ``none`` for plain positions.
        images: Most calibration images; fewer where they are large.
        seed: Seed of the Fisher probes and of the choice of images.
    """

    wavelet: str = "haar"
    images: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        known = [*pywt.wavelist(kind="discrete"), PIXELS]
        if self.wavelet not in known:
            hint = did_you_mean(self.wavelet, known, otherwise="; try haar, db2 or sym4")
            raise InputError(f"unknown discrete wavelet {self.wavelet!r}{hint}")
        if self.images < 2:
            raise InputError(f"at least 2 calibration images are needed, not {self.images}")


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is known of one port, float64 on the CPU.

    Attributes:
        fisher: Fisher weight of each output, summed over bands, shape (O,).
        grams: Of each part the Gram matrix of its centred rows, weighted by band, (d, d).
        mean: Mean of each row over images and positions, shape (D,).
    """

    fisher: Tensor
    grams: tuple[Tensor, ...]
    mean: Tensor


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """Ports of a network with their statistics.

    Attributes:
        ports: Layers that read prunable channels.
        additions: Additions that droppable branches end in.
        statistics: By name of the node of a port or addition.
        left: Layers that read prunable channels but have no statistics, with the reason.
    """

    ports: tuple[Port, ...]
    additions: tuple[Port, ...]
    statistics: Mapping[str, Statistics]
    left: Mapping[str, str]


def measure(
    trace: Trace,
    images: Images,
    options: WaveletOptions | None = None,
    *,
    device: torch.device | None = None,
    task: Task = CLASSIFICATION,
    only: Collection[str] | None = None,
) -> Curvature:
    """Gather the statistics of every port in two passes over the images.

    The first pass takes the gradients of two Fisher probes at every port, the second the Gram
    matrices, in the basis that the first has weighted. Beside the network it holds the Gram
    matrices (at most 42 MB each, search.md) and one batch of unfolded inputs of one layer.

    Args:
        trace: The dense network.
        images: Images; labels only spread their choice over the classes.
        options: How; the defaults of :class:`WaveletOptions` without it.
        device: Where to compute; CUDA where there is one.
        task: What is lost: its probes give the Fisher weights.
        only: Nodes of the ports and additions to measure, each as it is with all of them.
    """
    options, device = options or WaveletOptions(), device or best_device()
    ports, left = find_ports(trace)
    additions = find_additions(trace)
    if not ports and not additions:
        return Curvature(ports=ports, additions=additions, statistics={}, left=left)
    graph = copy.deepcopy(trace.graph).to(device).eval().requires_grad_(False)
    watched = [p for p in (*ports, *additions) if only is None or p.node.name in only]
    tallies = {p.node: _Tally(p, reader(graph, p.node), options.wavelet) for p in watched}
    observer, chosen = _Observer(trace, graph, tallies), _batches(trace, images, options, device)
    observer.take_fisher(chosen, options.seed, task)
    observer.take_grams(chosen)
    return Curvature(
        ports=ports,
        additions=additions,
        statistics={node.name: tally.statistics() for node, tally in tallies.items()},
        left=left,
    )


def _batches(
    trace: Trace, images: Images, options: WaveletOptions, device: torch.device
) -> list[Tensor]:
    """Pixels of images evenly from all classes, as many as the memory bounds allow."""
    count = affordable(trace, options.images)
    chosen = images.subset(stratified(images.labels, count, options.seed)).to(device)
    return [pixels for pixels, _ in chosen.batches(max(1, _BATCH_PIXELS // _area(trace)))]


def affordable(trace: Trace, most: int) -> int:
    """Number of calibration images: at most ``most``, fewer where they are large."""
    return min(most, max(_LEAST_IMAGES, _PIXELS // _area(trace)))


def _area(trace: Trace) -> int:
    entry = next(node for node in trace.graph.graph.nodes if node.op == "placeholder")
    return math.prod(entry.meta["tensor_meta"].shape[2:])


class _Tally:
    """Running sums of one port."""

    def __init__(self, port: Port, layer: Any, wavelet: str) -> None:
        self.port = port
        self._layer = layer
        self._wavelet = wavelet
        self._basis: Basis | None = None
        self._count = 0
        self._fisher = torch.zeros(0)  # (bands, O), sums over images, probes and coefficients
        self._mean = torch.zeros(0)  # (D,), sum over images
        self._grams = [torch.zeros(0) for _ in port.parts]

    def add_gradient(self, gradient: Tensor) -> None:
        """Take the gradient of one probe at the output, (N, O, ...)."""
        axis = channel_axis(self._layer)
        maps = by_channel(gradient, axis)  # (N, O, L)
        grid = self._grid(gradient.movedim(axis, 1).shape[2:], gradient.device)
        coefficients = (maps @ grid.vectors).square().sum(0) * grid.share  # (O, M)
        by_band = coefficients.new_zeros(grid.bands, len(coefficients))
        by_band.index_add_(0, grid.band, coefficients.T)
        self._fisher = _added(self._fisher, by_band)

    def add_mean(self, values: tuple[Tensor, ...]) -> None:
        """Take what the port reads of some images, for the mean of each row."""
        self._count += len(values[0])
        # Unfolding is linear: the rows of the mean image have the mean of the rows.
        together = tuple(value.sum(0, keepdim=True) for value in values)
        self._mean = _added(self._mean, unfolded(self.port, self._layer, together)[0].mean(1))

    def add_rows(self, values: tuple[Tensor, ...]) -> None:
        """Take what the port reads of some images, for the Gram matrices."""
        mean = (self._mean / self._count).to(values[0])
        rows = unfolded(self.port, self._layer, values) - mean[:, None]  # (N, D, L)
        for number, part in enumerate(self.port.parts):
            own = rows if len(self.port.parts) == 1 else rows[:, torch.from_numpy(part.rows)]
            mixed = (own @ self._weighted).transpose(0, 1).flatten(1)  # (d, N * M)
            self._grams[number] = _added(self._grams[number], mixed @ mixed.T)

    @cached_property
    def _weighted(self) -> Tensor:
        """The basis weighted by band, (L, M), once all gradients are in."""
        grid = self._basis
        assert grid is not None  # the first pass has set it
        shares = self._fisher.sum(1) / self._fisher.sum().clamp_min(1e-300)  # (bands,)
        kept = torch.bincount(grid.band.cpu(), minlength=grid.bands)
        weights = (shares.cpu() / kept).sqrt()[grid.band.cpu()]  # (M,), of sqrt(pi_b / kept_b)
        return grid.vectors * weights.to(grid.vectors)

    def statistics(self) -> Statistics:
        """What the sums come to."""
        fisher = self._fisher.sum(0) / (self._count * _PROBES)
        grams = (gram.cpu() / self._count for gram in self._grams)
        return Statistics(
            fisher=fisher.cpu(),
            # Products in float32 are not quite the same both ways round.
            grams=tuple((gram + gram.T) / 2 for gram in grams),
            mean=self._mean.cpu() / self._count,
        )

    def _grid(self, sides: Sequence[int], device: torch.device) -> Basis:
        """The basis over the output grid; only maps of two sides are transformed."""
        if self._basis is None:
            wavelet = self._wavelet if len(sides) == 2 else PIXELS
            height, width = sides if len(sides) == 2 else (1, math.prod(sides))
            found = basis(height, width, wavelet)
            self._basis = Basis(*(t.to(device) for t in (found.vectors, found.band, found.share)))
        return self._basis


def _added(total: Tensor, more: Tensor) -> Tensor:
    """A float64 sum, begun by its first term."""
    return more.double() if not total.numel() else total + more.double()


class _Observer(fx.Interpreter):
    """Runs the dense network and hands what passes the ports to their tallies."""

    def __init__(
        self, trace: Trace, graph: fx.GraphModule, tallies: Mapping[fx.Node, _Tally]
    ) -> None:
        # The nodes of the traced graph, which ports refer to, on the weights of the copy.
        super().__init__(graph, graph=trace.graph.graph)
        self.tallies = tallies
        self._take: Callable[[_Tally, tuple[Tensor, ...]], None] = _Tally.add_mean
        self._taps: dict[fx.Node, Tensor] | None = None

    def take_fisher(self, batches: Sequence[Tensor], seed: int, task: Task) -> None:
        """Gradients of the probes, and means of the rows."""
        self._take = _Tally.add_mean
        done, total = 0, sum(map(len, batches))
        for pixels in batches:
            self._taps = {}
            probes = task.probes(self.run(pixels), _PROBES, (done, total, seed))
            done += len(pixels)
            for number, probe in enumerate(probes):
                self._probe(probe, last=number == _PROBES - 1)
        self._taps = None

    def take_grams(self, batches: Sequence[Tensor]) -> None:
        """Gram matrices of the rows, in the basis weighted by the gradients."""
        self._take = _Tally.add_rows
        with torch.no_grad():
            for pixels in batches:
                self.run(pixels)

    def run_node(self, n: fx.Node) -> Any:
        """Evaluate one node; at a port take what it reads, and tap the gradient of its output."""
        tally = self.tallies.get(n)
        if tally is None:
            return super().run_node(n)
        values = tuple(self.env[source] for source in tally.port.sources)
        with torch.no_grad():
            self._take(tally, values)
        result = super().run_node(n)
        if self._taps is None:
            return result
        # A new tensor: what follows may write into it, its gradient is that of the sum.
        tap = torch.zeros_like(result, requires_grad=True)
        self._taps[n] = tap
        return result + tap

    def _probe(self, probe: Tensor, *, last: bool) -> None:
        """Take the gradient of a probe at every tap."""
        taps = self._taps or {}
        gradients = torch.autograd.grad(
            probe,
            list(taps.values()),
            retain_graph=not last,
            materialize_grads=True,
        )
        for node, gradient in zip(taps, gradients, strict=True):
            self.tallies[node].add_gradient(gradient)
