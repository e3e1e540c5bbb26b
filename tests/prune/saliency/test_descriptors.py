"""Sets of channels score as a plain loop over individuals says they should."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeprune.prune.saliency.descriptors import Descriptors, aggregation, ranks, scatter_ratio


def _descriptors(channels: int, seed: int = 0) -> Descriptors:
    generator = torch.Generator().manual_seed(seed)
    cosine = torch.rand(channels, channels, generator=generator)
    cosine = ((cosine + cosine.T) / 2).fill_diagonal_(1)
    one, two, saliency = torch.rand(3, channels, generator=generator)
    return Descriptors(one, two, saliency, cosine)


def _plain_score(kept: NDArray[np.bool_], described: Descriptors, weight: float) -> float:
    """One individual at a time, pair by pair."""
    saliency = described.saliency.double().numpy()
    cosine = described.cosine.double().numpy()
    chosen = np.flatnonzero(kept)
    pairs = [cosine[i, j] for i in chosen for j in chosen if i != j]
    likeness = float(np.mean(pairs)) if pairs else 0.0
    return float(saliency[chosen].sum() / saliency.sum()) - weight * likeness


@given(st.integers(1, 12), st.integers(0, 1000), st.floats(0, 2))
def test_scores_equal_a_loop_over_individuals(channels: int, seed: int, weight: float) -> None:
    described = _descriptors(channels, seed)
    masks = np.random.default_rng(seed).random((6, channels)) < 0.5
    scores = aggregation(torch.from_numpy(masks), described, weight)
    expected = [_plain_score(mask, described, weight) for mask in masks]
    assert np.allclose(scores.numpy(), expected, atol=1e-5)


def test_all_kept_scores_one_and_none_scores_zero() -> None:
    described = _descriptors(5)
    masks = torch.tensor([[True] * 5, [False] * 5])
    assert aggregation(masks, described, 0.0).tolist() == pytest.approx([1.0, 0.0])


def test_of_two_twins_one_is_enough() -> None:
    cosine = torch.eye(3)
    cosine[0, 1] = cosine[1, 0] = 1.0
    described = Descriptors(torch.ones(3), torch.ones(3), torch.ones(3), cosine)
    twins, strangers = aggregation(torch.tensor([[1, 1, 0], [1, 0, 1]]), described, 0.3)
    assert float(strangers - twins) == pytest.approx(0.3)


def test_scatter_ratio_by_hand() -> None:
    # Class means 1 and 5, grand mean 3: between 4 * 2**2 = 16; within 4 * 1 = 4.
    moved = torch.tensor([0.0, 2.0, 4.0, 6.0])
    vectors = torch.stack([moved, torch.ones(4)], 1).unsqueeze(-1)
    assert scatter_ratio(vectors, torch.tensor([3, 3, 8, 8])).tolist() == [4.0, 0.0]


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e3])
def test_scatter_ratio_does_not_depend_on_the_scale_of_a_feature(scale: float) -> None:
    """Ratios 4 and 1 by hand; their mean, whatever unit the second feature comes in."""
    first = torch.tensor([0.0, 2.0, 4.0, 6.0])
    second = torch.tensor([0.0, 2.0, 2.0, 4.0]) * scale
    vectors = torch.stack([first, second], 1).unsqueeze(1).double()
    assert float(scatter_ratio(vectors, torch.tensor([0, 0, 1, 1]))) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], [1.0, 0.0, 0.5]),
        ([0.0, 0.0, 5.0], [0.25, 0.25, 1.0]),
        ([7.0, 7.0], [0.5, 0.5]),
        ([4.0], [1.0]),
    ],
)
def test_ranks_share_ties(values: list[float], expected: list[float]) -> None:
    assert ranks(torch.tensor(values)).tolist() == expected
