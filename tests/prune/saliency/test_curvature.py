"""Statistics of ports: those of a plain numpy and pywt reference, whatever the batches."""

import numpy as np
import pytest
import pywt
import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.saliency import curvature
from edgeprune.prune.saliency.curvature import WaveletOptions, measure
from edgeprune.prune.tracing.trace import trace

SIDE, COUNT, CLASSES = 8, 6, 3


def network(relu=nn.ReLU, after=nn.BatchNorm2d):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1),
        after(5),
        relu(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, CLASSES),
    ).eval()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (COUNT, 3, SIDE, SIDE), generator=generator)
    return HeldImages(pixels.to(torch.uint8), torch.arange(COUNT) % CLASSES)


def pixels_of(images):
    (batch,) = images.batches(COUNT)
    return batch[0]


def bands(maps, wavelet):
    """Coefficients by band, the last axis flattened: (..., n_b) each."""
    found = []
    while maps.shape[-1] % 2 == 0:
        maps, details = pywt.dwt2(maps, wavelet, mode="periodization")
        found += [band.reshape(*band.shape[:-2], -1) for band in details]
    return [maps.reshape(*maps.shape[:-2], -1), *found]


def reference(model, pixels, wavelet, seed):
    """Fisher weights, Gram matrix and mean of what the second convolution reads."""
    read = F.relu(model[0](pixels))
    z = model[2](read)
    z.retain_grad()
    logits = model[3:](z)
    noise = torch.randn(2, COUNT, CLASSES, generator=torch.Generator().manual_seed(seed))
    energy = 0.0
    for probe in noise:
        p = logits.softmax(1).detach()
        s = p.sqrt() * probe
        v = s - p * s.sum(1, keepdim=True)
        (g,) = torch.autograd.grad((v * logits).sum(), z, retain_graph=True)
        by_band = [(c**2).sum((0, 2)) for c in bands(g.double().numpy(), wavelet)]
        energy = energy + np.stack(by_band) / (2 * COUNT)  # (bands, O)
    share = energy.sum(1) / energy.sum()
    rows = F.unfold(read.detach(), 3, padding=1).double().numpy()  # (N, D, L)
    mean = rows.mean((0, 2))
    maps = (rows - mean[:, None]).reshape(COUNT, -1, SIDE, SIDE)
    gram = sum(
        pi / (COUNT * c.shape[2]) * np.einsum("ndk,nek->de", c, c)
        for pi, c in zip(share, bands(maps, wavelet), strict=True)
    )
    return energy.sum(0), gram, mean


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
def test_the_statistics_are_those_of_the_formulas(images, wavelet):
    model = network()
    traced = trace(model, torch.zeros(1, 3, SIDE, SIDE))
    found = measure(traced, images, WaveletOptions(wavelet, COUNT, 3)).statistics["_2"]
    # The batches are drawn class by class: the reference sees them in the same order.
    order = curvature._batches(
        traced, images, WaveletOptions(wavelet, COUNT, 3), torch.device("cpu")
    )
    fisher, gram, mean = reference(model, torch.cat(order), wavelet, 3)
    np.testing.assert_allclose(found.fisher, fisher, rtol=1e-4)
    np.testing.assert_allclose(found.grams[0], gram, rtol=1e-3, atol=1e-4 * gram.max())
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-6)


def test_without_a_wavelet_the_gram_matrix_is_the_covariance(images):
    model = network()
    traced = trace(model, torch.zeros(1, 3, SIDE, SIDE))
    found = measure(traced, images, WaveletOptions("none", COUNT)).statistics["_2"]
    rows = F.unfold(F.relu(model[0](pixels_of(images))).detach(), 3, padding=1)
    flat = rows.transpose(0, 1).flatten(1).double().numpy()
    expected = np.cov(flat, bias=True)
    np.testing.assert_allclose(found.grams[0], expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_batches_of_any_size_give_the_same(images, monkeypatch):
    traced = trace(network(), torch.zeros(1, 3, SIDE, SIDE))
    whole = measure(traced, images, WaveletOptions(images=COUNT))
    monkeypatch.setattr(curvature, "_BATCH_PIXELS", 2 * SIDE * SIDE)
    parts = measure(traced, images, WaveletOptions(images=COUNT))
    for name, one in whole.statistics.items():
        other = parts.statistics[name]
        torch.testing.assert_close(one.fisher, other.fisher, rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(one.grams[0], other.grams[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "after", [nn.BatchNorm2d, lambda width: nn.Identity(), lambda width: nn.Dropout()]
)
def test_a_relu_in_place_does_not_reach_what_is_watched(images, after):
    def found(relu):
        traced = trace(network(relu, after), torch.zeros(1, 3, SIDE, SIDE))
        return measure(traced, images, WaveletOptions(images=COUNT)).statistics

    plain, in_place = found(nn.ReLU), found(lambda: nn.ReLU(inplace=True))
    assert plain.keys() == in_place.keys()
    for name, one in plain.items():
        assert torch.equal(one.fisher, in_place[name].fisher)
        assert torch.equal(one.grams[0], in_place[name].grams[0])


def test_gram_matrices_are_symmetric(images):
    traced = trace(network(), torch.zeros(1, 3, SIDE, SIDE))
    for one in measure(traced, images).statistics.values():
        assert all(torch.equal(gram, gram.T) for gram in one.grams)


def test_the_network_is_left_as_it_was(images):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(trace(model, torch.zeros(1, 3, SIDE, SIDE)), images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_network_without_ports_has_no_statistics(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)).eval()
    found = measure(trace(model, torch.zeros(1, 3, SIDE, SIDE)), images)
    assert found.ports == found.additions == ()
    assert found.statistics == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same(images):
    traced = trace(network(), torch.zeros(1, 3, SIDE, SIDE))
    here, there = (measure(traced, images, device=torch.device(d)) for d in ("cpu", "cuda"))
    for name, one in here.statistics.items():
        torch.testing.assert_close(
            one.grams[0], there.statistics[name].grams[0], rtol=1e-2, atol=1e-5
        )
