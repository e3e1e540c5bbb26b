"""Wavelet descriptors against PyWavelets, one map at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import pywt
import torch
from numpy.typing import NDArray
from torch import nn

from edgeprune.errors import InputError
from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.saliency.descriptors import Descriptors, aggregation, scatter_ratio
from edgeprune.prune.saliency.wavelet import (
    WaveletOptions,
    describe,
    energies,
    wavelet_level,
    wavelet_maps,
)
from edgeprune.prune.search.strategies.gwcs_fitness import StageFitness
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.widths import PruningSpace
from edgeprune.prune.tracing.trace import Trace, trace

CPU = torch.device("cpu")
Floats = NDArray[np.float64]


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4", "bior2.2", "coif1"])
@pytest.mark.parametrize("shape", [(32, 32), (16, 20), (17, 33), (8, 8), (7, 5), (4, 4), (3, 3)])
def test_coefficients_equal_pywt(wavelet: str, shape: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    approximation, details = wavelet_maps(maps, wavelet)
    level = wavelet_level(min(shape), wavelet)
    assert len(details) == level
    expected = pywt.wavedec2(maps.double().numpy(), wavelet, mode="symmetric", level=level)
    assert np.allclose(approximation.numpy(), expected[0], atol=1e-5)
    for bands, expected_bands in zip(details, expected[1:], strict=True):
        for band, expected_band in zip(bands, expected_bands, strict=True):
            assert np.allclose(band.numpy(), expected_band, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "wavelet", "level"),
    [
        (32, "haar", 2),
        (16, "haar", 2),
        (15, "haar", 1),
        (4, "haar", 1),
        (3, "haar", 0),
        (1, "haar", 0),
        (32, "db4", 2),
        (8, "db4", 0),
        (32, "db20", 0),
    ],
)
def test_the_level_follows_the_side(side: int, wavelet: str, level: int) -> None:
    assert wavelet_level(side, wavelet) == level


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16, 32])
def test_energy_is_kept(side: int) -> None:
    maps = torch.randn(3, 2, side, side, generator=torch.Generator().manual_seed(side))
    bands, _ = energies(maps, "haar")
    assert torch.allclose(bands.sum(-1), maps.square().mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
def test_flat_maps_have_no_detail(wavelet: str) -> None:
    bands, _ = energies(torch.full((1, 1, 16, 16), 2.0), wavelet)
    assert bands[0, 0, 0] > 3.9
    assert float(bands[0, 0, 1:].abs().max()) < 1e-9


def test_half_precision_is_cast() -> None:
    maps = torch.randn(1, 2, 8, 8)
    assert energies(maps.bfloat16(), "haar")[0].dtype == torch.float32
    assert energies(maps.double(), "haar")[0].dtype == torch.float64


@pytest.fixture
def network(judged: Callable[[float], nn.Module]) -> nn.Module:
    return judged(0.3)


@pytest.fixture
def images() -> HeldImages:
    return _images(16)


def _plain_energies(one: Floats, wavelet: str) -> Floats:
    level = wavelet_level(min(one.shape), wavelet)
    if level == 0:
        return np.array([np.sum(one**2), 0, 0, 0]) / one.size
    coarse, *details = pywt.wavedec2(one, wavelet, mode="symmetric", level=level)
    bands = [sum(float(np.sum(bands[k] ** 2)) for bands in details) for k in range(3)]
    return np.array([np.sum(coarse**2), *bands]) / one.size


def _plain_signature(one: Floats, wavelet: str) -> Floats:
    level = wavelet_level(min(one.shape), wavelet)
    coarse = one if level == 0 else pywt.wavedec2(one, wavelet, "symmetric", level)[0]
    if min(coarse.shape) < 2:
        return np.asarray(coarse).ravel()
    rows, columns = (-(-side // 2) for side in coarse.shape)  # halves share an odd side's middle
    corners = [(y, x) for y in _halves(rows) for x in _halves(columns)]
    return np.array([coarse[corner].mean() for corner in corners])


def _halves(size: int) -> tuple[slice, slice]:
    return slice(size), slice(-size, None)


def _plain_ranks(values: list[float]) -> list[float]:
    return [
        sum((v < value) + 0.5 * (v == value) for v in values) / (len(values) - 1)
        - 0.5 / (len(values) - 1)
        for value in values
    ]


def _plain_saliency(maps: Floats, labels: Floats, wavelet: str, balance: float) -> list[float]:
    """Channel by channel and image by image, with pywt and numpy alone."""
    representative, discriminative = [], []
    for channel in range(maps.shape[1]):
        vectors = np.array([_plain_energies(one, wavelet) for one in maps[:, channel]])
        representative.append(float(vectors[:, 0].mean()))
        between, within = np.zeros(4), np.zeros(4)
        for label in np.unique(labels):
            own = vectors[labels == label]
            between += len(own) * (own.mean(0) - vectors.mean(0)) ** 2
            within += np.sum((own - own.mean(0)) ** 2, 0)
        discriminative.append(float(np.mean(between / np.maximum(within, 1e-12))))
    pairs = zip(_plain_ranks(representative), _plain_ranks(discriminative), strict=True)
    return [balance * r + (1 - balance) * d for r, d in pairs]


def _plain_cosine(maps: Floats, wavelet: str) -> Floats:
    signatures = []
    for channel in range(maps.shape[1]):
        parts = [_plain_signature(one, wavelet) for one in maps[:, channel]]
        joined = np.concatenate(parts)
        signatures.append(joined - joined.mean())
    stacked = np.array(signatures)
    length = np.linalg.norm(stacked, axis=1)
    # A channel that never changes is like no other, itself included.
    cosine: Floats = np.abs(stacked @ stacked.T) / np.maximum(np.outer(length, length), 1e-12)
    return cosine


def _images(side: int) -> HeldImages:
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randint(0, 256, (90, 3, side, side), generator=generator)
    labels = torch.arange(90) % 3
    return HeldImages((pixels // (1 + labels.view(-1, 1, 1, 1))).to(torch.uint8), labels)


@pytest.mark.parametrize(
    ("side", "wavelet", "balance", "level"),
    [
        (16, "haar", 0.5, 2),
        (16, "db2", 0.2, 2),
        (9, "haar", 1.0, 1),
        (13, "bior2.2", 0.5, 1),
        (15, "sym4", 0.0, 1),
        (3, "haar", 0.5, 0),
        (5, "sym4", 0.7, 0),
    ],
)
def test_a_population_scores_as_a_plain_reference_says_from_the_maps(
    network: nn.Module, side: int, wavelet: str, balance: float, level: int
) -> None:
    assert wavelet_level(side, wavelet) == level
    images = _images(side)
    traced = trace(network, torch.zeros(1, 3, side, side))
    described = describe(traced, images, WaveletOptions(wavelet, balance), device=CPU)
    with torch.no_grad():
        maps = network.maps(images.normalisation(images.pixels))
    assert {group.name for group in traced.groups} == set(maps)
    labels, widths = images.labels.numpy(), [group.width for group in traced.groups]
    masks = [np.random.default_rng(n).random((20, width)) < 0.6 for n, width in enumerate(widths)]
    whole = np.zeros(20)
    for group, found, kept in zip(traced.groups, described, masks, strict=True):
        plain = [one.double().numpy() for one in maps[group.name]]
        saliency = np.mean([_plain_saliency(m, labels, wavelet, balance) for m in plain], 0)
        cosine = np.mean([_plain_cosine(m, wavelet) for m in plain], 0)
        assert np.allclose(found.saliency.numpy(), saliency, atol=1e-5)
        assert np.allclose(found.cosine.numpy(), cosine, atol=1e-4)
        expected = [_plain_score(mask, saliency, cosine, 0.2) for mask in kept]
        scores = aggregation(torch.from_numpy(kept), found, 0.2)
        assert np.allclose(scores.numpy(), expected, atol=1e-4)
        whole += np.array(expected) * group.width / sum(widths)
    population = [torch.from_numpy(kept) for kept in masks]
    assert np.allclose(_stage(traced, described, 0.2).aggregation(population), whole, atol=1e-4)


def _stage(traced: Trace, described: tuple[Descriptors, ...], weight: float) -> StageFitness:
    space = PruningSpace(traced.groups, tuple((group.width,) for group in traced.groups))
    costs = Costs(space.full, (lambda widths: widths.sum(1),) * 3)
    members = tuple(range(len(traced.groups)))
    return StageFitness(
        space=space,
        descriptors=described,
        costs=costs,
        members=members,
        fixed=space.full,
        redundancy=weight,
    )


def _plain_score(
    mask: NDArray[np.bool_], saliency: Floats, cosine: Floats, weight: float
) -> float:
    kept = np.flatnonzero(mask)
    pairs = [cosine[i, j] for i in kept for j in kept if i != j]
    return float(saliency[kept].sum() / saliency.sum() - weight * (np.mean(pairs) if pairs else 0))


def _described(traced: Trace, images: HeldImages, count: int = 512) -> tuple[Descriptors, ...]:
    return describe(traced, images, WaveletOptions(images=count), device=CPU)


def test_a_channel_that_tells_nothing_comes_last(network: nn.Module, images: HeldImages) -> None:
    with torch.no_grad():
        network.bn1.bias.fill_(1.0)
        network.bn1.weight[2] = 0.0
        network.bn1.bias[2] = -1.0
    traced = trace(network, torch.zeros(1, 3, 16, 16))
    found = _described(traced, images)[traced.index("conv1")]
    assert int(found.saliency.argmin()) == 2
    assert float(found.saliency[2]) == 0.0
    assert float(found.cosine[2].max()) == 0.0


def test_a_band_of_little_energy_that_tells_the_classes_apart_counts() -> None:
    """Channel 0 has fine stripes, of 1/10,000 of the energy, where the label is 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    maps = 10 + torch.randn(60, 2, 1, 1, generator=generator) + torch.zeros(60, 2, 16, 16)
    stripes = torch.tensor([1.0, -1.0]).repeat(8) * (0.1 * labels).view(-1, 1, 1, 1)
    maps[:, :1] += stripes
    noise = 1e-2 * torch.randn(60, 2, 16, 16, generator=generator)
    bands, _ = energies((maps + noise).double(), "haar")
    striped, plain = scatter_ratio(bands, labels).tolist()
    assert float(bands[:, 0, 1:].sum() / bands[:, 0].sum()) < 1e-3
    assert striped > 10 * plain
    coarse, _ = scatter_ratio(bands[:, :, :1], labels).tolist()
    assert coarse < 1  # the approximation alone says nothing


def test_nothing_of_the_model_or_the_generator_changes(
    network: nn.Module, images: HeldImages
) -> None:
    network.train()
    before = [tensor.clone() for tensor in network.state_dict().values()]
    traced = trace(network, torch.zeros(1, 3, 16, 16))
    state = torch.get_rng_state()
    first, again = _described(traced, images, 30)[0], _described(traced, images, 30)[0]
    assert torch.equal(first.saliency, again.saliency)
    assert torch.equal(torch.get_rng_state(), state)
    after = network.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert network.training


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"wavelet": "harr"}, "did you mean 'haar'?"),
        ({"wavelet": "morl"}, "unknown discrete wavelet"),
        ({"balance": 1.1}, "between 0 and 1"),
        ({"images": 1}, "at least 2"),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        WaveletOptions(**wrong)  # type: ignore[arg-type]
    assert words in str(caught.value)
