"""Orthonormal 2-D wavelet bases over an output grid, thinned to some coefficients a band.

Reference:
    S. Mallat, A theory for multiresolution signal decomposition, IEEE TPAMI 11(7), 1989.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pywt
import torch
from torch import Tensor

from edgeprune.arrays import Floats, Ints

PIXELS = "none"
"""Name that leaves out the transform: every position is a coefficient of one band."""
THINNED = 32  # coefficients kept of a band; more changed no order that was measured
_THINNED_PIXELS = 256  # about what the bands of a 32 x 32 map keep together


@dataclass(frozen=True)
class Basis:
    """Some vectors of an orthonormal basis of maps of one size.

    Attributes:
        vectors: Shape (L, M), float32: L = H * W positions, M coefficients that are kept.
        band: Band of each coefficient, shape (M,), int64; band 0 is the approximation.
        share: Coefficients that each one stands for, ``n_b / kept_b``, shape (M,), float32.
    """

    vectors: Tensor
    band: Tensor
    share: Tensor

    @property
    def bands(self) -> int:
        """Number of bands."""
        return int(self.band.max()) + 1


@cache
def basis(height: int, width: int, wavelet: str) -> Basis:
    """The basis of maps of one size, as deep as both sides can be halved.

    Borders are periodic, so that the transform is orthonormal. A wavelet whose transform is not
    (biorthogonal ones) is replaced by the nearest orthonormal one, level by level.

    Args:
        height: Rows of a map.
        width: Columns of a map.
        wavelet: A discrete wavelet that PyWavelets knows, or :data:`PIXELS`.
    """
    if wavelet == PIXELS:
        return _pixels(height * width)
    rows, columns = _by_level(height, wavelet), _by_level(width, wavelet)
    depth = min(len(rows), len(columns)) - 1
    pairs = [(rows[depth][0], columns[depth][0])]  # the approximation
    for level in range(depth, 0, -1):  # from coarse to fine
        (low_r, high_r), (low_c, high_c) = rows[level], columns[level]
        pairs += [(high_r, low_c), (low_r, high_c), (high_r, high_c)]
    bands = [_outer(*pair) for pair in pairs]
    kept = np.concatenate([vectors for vectors, _ in bands], 1)
    band = np.repeat(np.arange(len(bands)), [vectors.shape[1] for vectors, _ in bands])
    share = np.array([bands[b][1] / bands[b][0].shape[1] for b in band])
    return Basis(
        torch.from_numpy(kept).float(), torch.from_numpy(band), torch.from_numpy(share).float()
    )


def _pixels(positions: int) -> Basis:
    """Positions themselves, evenly thinned."""
    chosen = _spread(positions, _THINNED_PIXELS)
    vectors = torch.zeros(positions, len(chosen))
    vectors[torch.from_numpy(chosen), torch.arange(len(chosen))] = 1.0
    share = torch.full((len(chosen),), positions / len(chosen))
    return Basis(vectors, torch.zeros(len(chosen), dtype=torch.int64), share)


def _by_level(side: int, wavelet: str) -> list[tuple[Floats, Floats]]:
    """Approximation and detail vectors of a signal at each level, (side, side / 2**level) each."""
    low, levels = np.eye(side), [(np.eye(side), np.empty((side, 0)))]
    while low.shape[1] % 2 == 0:
        step = _step(low.shape[1], wavelet)  # (n, n): rows are approximation, then detail
        half = low.shape[1] // 2
        low, high = low @ step[:half].T, low @ step[half:].T
        levels.append((low, high))
    return levels


def _step(side: int, wavelet: str) -> Floats:
    """One level of the periodic transform as an orthonormal matrix, (side, side)."""
    parts = pywt.dwt(np.eye(side), wavelet, mode="periodization", axis=0)
    left, _, right = np.linalg.svd(np.concatenate(parts))
    orthonormal: Floats = left @ right
    return orthonormal


def _outer(rows: Floats, columns: Floats) -> tuple[Floats, int]:
    """Vectors over the map of a thinned band, (H * W, kept), and the size of the whole band."""
    places = np.array(list(product(range(rows.shape[1]), range(columns.shape[1]))))
    chosen = places[_spread(len(places), THINNED)]
    pictures = np.einsum("hm,wm->hwm", rows[:, chosen[:, 0]], columns[:, chosen[:, 1]])
    return pictures.reshape(-1, len(chosen)), len(places)


def _spread(count: int, most: int) -> Ints:
    """At most ``most`` of ``count`` places, spread by the golden ratio so that no column repeats.

    An even stride would pick the same column of every row of a power-of-two band.
    """
    if count <= most:
        return np.arange(count)
    golden = (np.sqrt(5) - 1) / 2
    turns = np.argsort((np.arange(count) * golden) % 1.0, kind="stable")
    return np.sort(turns[:most]).astype(np.int64)
