"""Bases of maps: orthonormal, equal to PyWavelets, and thinned without loss of share."""

import numpy as np
import pytest
import pywt
import torch

from edgeprune.prune.saliency.transform import PIXELS, basis


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4", "bior2.2", PIXELS])
@pytest.mark.parametrize("sides", [(4, 4), (8, 4), (16, 16), (6, 10), (7, 7), (1, 1)])
def test_vectors_are_orthonormal_and_shares_cover_the_map(wavelet, sides):
    found = basis(*sides, wavelet)
    product = (found.vectors.T @ found.vectors).double()
    eye = torch.eye(len(product), dtype=torch.float64)
    torch.testing.assert_close(product, eye, atol=1e-5, rtol=0)
    assert float(found.share.sum()) == pytest.approx(sides[0] * sides[1])
    assert (found.share >= 1).all()


def decomposed(picture, wavelet):
    """Down to one coefficient, as wavedec2 would order it; that warns below a filter's length."""
    details = []
    while picture.shape[0] > 1:
        picture, fine = pywt.dwt2(picture, wavelet, mode="periodization")
        details.insert(0, fine)
    return [picture, *details]


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
def test_coefficients_are_those_of_pywavelets_up_to_their_order(wavelet):
    picture = np.random.default_rng(0).normal(size=(8, 8))
    found = basis(8, 8, wavelet)  # no band has more coefficients than are kept
    values = picture.ravel() @ found.vectors.double().numpy()
    levels = decomposed(picture, wavelet)
    bands = [levels[0], *(band for level in levels[1:] for band in level)]
    assert found.bands == len(bands)
    for number, band in enumerate(bands):
        mine = np.sort(values[found.band.numpy() == number])
        assert mine == pytest.approx(np.sort(band.ravel()), abs=1e-5)


def test_an_odd_map_is_one_band_of_positions():
    found = basis(7, 3, "haar")
    assert found.bands == 1
    assert torch.equal(found.vectors, torch.eye(21))
