"""Wavelet descriptors of channels: sub-band energies, class scatter, redundancy.

Our reconstruction of the wavelet channel aggregation of L. Chen, S. Gong, X. Shi, M. Shang,
Dynamical conventional neural network channel pruning by genetic wavelet channel search for
image classification, Frontiers in Computational Neuroscience 15:760554, 2021, of which only the
abstract was at hand. The nearest published relative is FPWT, Neural Networks 179:106577, 2024.
The transform is that of S. Mallat, IEEE TPAMI 11(7), 1989.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import pywt
import torch
import torch.nn.functional as F
from ptwt.conv_transform_2 import wavedec2
from torch import Tensor, fx

from edgeprune.errors import InputError
from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.saliency.descriptors import TINY, Descriptors, ranks, scatter_ratio
from edgeprune.prune.tracing.producers import Producer, producers
from edgeprune.prune.tracing.trace import Trace
from edgeprune.text import did_you_mean

_POOLED = 2  # a signature has one number for each quarter of the map
_BATCH = 64


@dataclass(frozen=True)
class WaveletOptions:
    """How channels are described.

    Attributes:
        wavelet: A discrete wavelet that PyWavelets knows.
        balance: Weight a of the representative term, 0..1; the discriminative has 1 - a.
        images: Calibration images, chosen so that each class keeps its share.
        seed: Seed of their choice.
    """

    wavelet: str = "haar"
    balance: float = 0.5
    images: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        known = pywt.wavelist(kind="discrete")
        if self.wavelet not in known:
            hint = did_you_mean(self.wavelet, known, otherwise="; try haar, db2 or sym4")
            raise InputError(f"unknown discrete wavelet {self.wavelet!r}{hint}")
        if not 0 <= self.balance <= 1:
            raise InputError(f"the balance must lie between 0 and 1, not {self.balance}")
        if self.images < 2:
            raise InputError(f"at least 2 calibration images are needed, not {self.images}")


def describe(
    trace: Trace,
    images: Images,
    options: WaveletOptions | None = None,
    *,
    device: torch.device | None = None,
) -> tuple[Descriptors, ...]:
    """Describe the channels of every group once, from their maps after BatchNorm and ReLU.

    A residual stream appears after each of its additions; its descriptors are the means over
    them. One batch of maps is held at a time.

    Args:
        trace: The traced network.
        images: Labelled images, fewer than ``options.images`` are all used.
        options: How; the defaults of :class:`WaveletOptions` without it.
        device: Where to compute; CUDA where there is one.

    Returns:
        Descriptors in the order of ``trace.groups``.

    Raises:
        InputError: A group's channels are made by no layer of their own.
    """
    options = options or WaveletOptions()
    device = device or best_device()
    chosen = images.subset(stratified(images.labels, options.images, options.seed)).to(device)
    found = [producers(trace, group) for group in trace.groups]
    tallies = {
        producer.node.name: _Tally(wavelet=options.wavelet)
        for group in found
        for producer in group
    }
    observer = _Observer(copy.deepcopy(trace.graph).to(device).eval(), tallies)
    with torch.no_grad():
        for pixels, _ in chosen.batches(_BATCH):
            observer.run(pixels)
    return tuple(_merged(group, tallies, chosen.labels, options.balance) for group in found)


def wavelet_level(side: int, wavelet: str) -> int:
    """Depth of the transform for maps whose shorter side is ``side`` pixels.

    2 from 16 pixels, 1 from 4, else 0; never deeper than the wavelet's filter fits.
    """
    wanted = 2 if side >= 16 else 1 if side >= 4 else 0
    return min(wanted, int(pywt.dwt_max_level(side, pywt.Wavelet(wavelet).dec_len)))


def wavelet_maps(maps: Tensor, wavelet: str) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
    """The 2-D wavelet transform of every map, borders mirrored.

    Args:
        maps: Shape (N, C, H, W), any floating type and device; half precision is cast.
        wavelet: A discrete wavelet.

    Returns:
        The approximation (N, C, h, w), and from coarse to fine the horizontal, vertical and
        diagonal details of each level; no details at level 0.
    """
    maps = maps if maps.dtype in (torch.float32, torch.float64) else maps.float()
    level = wavelet_level(min(maps.shape[-2:]), wavelet)
    if level == 0:
        return maps, ()
    approximation, *details = wavedec2(maps, wavelet, mode="symmetric", level=level)
    return approximation, tuple(tuple(bands) for bands in details)


def energies(maps: Tensor, wavelet: str) -> tuple[Tensor, Tensor]:
    """Sub-band energies per pixel of every map.

    With ``haar`` and sides divisible by 2**level the four add up to the mean square of the map.

    Args:
        maps: Shape (N, C, H, W).
        wavelet: A discrete wavelet.

    Returns:
        Energies of approximation, horizontal, vertical and diagonal details, the levels
        added up, shape (N, C, 4); and the approximation itself.
    """
    area = maps.shape[-1] * maps.shape[-2]
    approximation, details = wavelet_maps(maps, wavelet)
    bands = [_energy(approximation)]  # (N, C) each
    for direction in range(3):
        added = [_energy(level[direction]) for level in details]
        bands.append(torch.stack(added).sum(0) if added else torch.zeros_like(bands[0]))
    return torch.stack(bands, -1) / area, approximation


def _energy(coefficients: Tensor) -> Tensor:
    return torch.sum(coefficients.square(), (-2, -1))


@dataclass(kw_only=True)
class _Tally:
    """What is kept of one node's maps: energies per image, and the signatures' Gram matrix."""

    wavelet: str
    energies: list[Tensor] = field(default_factory=list)
    count: int = 0
    sums: Tensor | None = None
    gram: Tensor | None = None

    def add(self, maps: Tensor) -> None:
        if maps.ndim == 2:
            maps = maps[:, :, None, None]  # a linear layer: one pixel
        energy, approximation = energies(maps, self.wavelet)
        self.energies.append(energy)  # (N, C, 4)
        height, width = (min(_POOLED, side) for side in approximation.shape[-2:])
        pooled = F.adaptive_avg_pool2d(approximation, (height, width)).double()
        signatures = pooled.transpose(0, 1).flatten(1)  # (N, C, 2, 2) -> (C, 4 N)
        self.count += signatures.shape[1]
        sums, gram = signatures.sum(1), signatures @ signatures.T
        self.sums = sums if self.sums is None else self.sums + sums
        self.gram = gram if self.gram is None else self.gram + gram

    def covariance(self) -> Tensor:
        """Summed products of the centred signatures, shape (C, C), float64."""
        if self.sums is None or self.gram is None:
            raise ValueError("no maps have been added")
        return self.gram - torch.outer(self.sums, self.sums) / self.count


class _Observer(fx.Interpreter):
    """Runs the graph and adds the maps of the wanted nodes to their tallies."""

    def __init__(self, graph: fx.GraphModule, tallies: dict[str, _Tally]) -> None:
        super().__init__(graph)
        self._tallies = tallies

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self._tallies:
            self._tallies[n.name].add(result)
        return result


def _merged(
    found: tuple[Producer, ...], tallies: dict[str, _Tally], labels: Tensor, balance: float
) -> Descriptors:
    """Means over a group's distinct nodes; a channel at several positions is their mean."""
    parts = {producer.node.name: producer for producer in found}.values()
    described = [
        _described(tallies[producer.node.name], producer.positions, labels) for producer in parts
    ]
    representative, discriminative, cosine = (
        torch.stack(values).mean(0) for values in zip(*described, strict=True)
    )
    saliencies = [
        balance * ranks(energy) + (1 - balance) * ranks(ratio) for energy, ratio, _ in described
    ]
    return Descriptors(
        representative.float(),
        discriminative.float(),
        torch.stack(saliencies).mean(0).float(),
        cosine.float(),
    )


def _described(tally: _Tally, positions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    vectors = torch.cat(tally.energies).double()  # (N, positions, 4)
    device = vectors.device
    width, several = positions.shape
    flat = positions.to(device).flatten()
    representative = vectors[:, :, 0].mean(0)
    discriminative = scatter_ratio(vectors, labels.to(device))
    covariance = tally.covariance()
    length = covariance.diagonal().clamp_min(0).sqrt()  # (positions,)
    cosine = (covariance / torch.outer(length, length).clamp_min(TINY)).abs().clamp_max(1)
    # (positions, positions) -> (C, several, C, several) -> (C, C)
    picked = cosine[flat][:, flat].view(width, several, width, several).mean((1, 3))
    return (
        representative[flat].view(width, several).mean(1),
        discriminative[flat].view(width, several).mean(1),
        picked,
    )
