"""What strategies share: criteria computed once, from the wavelet that was asked for."""

import numpy as np
import pytest
import torch
from edgeprune.prune.saliency.wavelet import WaveletOptions

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import IMAGENET, HeldImages
from edgeprune.prune.saliency import wavelet
from edgeprune.prune.search.evaluation.problem import CRITERIA, Problem
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import trace


@pytest.fixture
def problem(judged):
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (60, 3, 16, 16), generator=generator).to(torch.uint8)
    train = HeldImages(pixels, torch.arange(60) % 3)
    traced = trace(judged(0.3), torch.zeros(1, 3, 16, 16))
    space = build(traced.groups, (2, 4, 6))
    images = DataSet(
        name="noise",
        classes=tuple("abc"),
        train=train,
        val=train,
        test=train,
        size=16,
        normalisation=IMAGENET,
        fingerprint="x",
    )
    costs = Costs(space.full, (lambda widths: widths.sum(1),) * 3)

    def make(**fields):
        return Problem(trace=traced, space=space, costs=costs, images=images, **fields)

    return make


def test_the_wavelet_criterion_follows_the_options(problem):
    options = WaveletOptions("db2", 0.0)
    asked, usual = problem(wavelet=options), problem()
    expected = wavelet.describe(asked.trace, asked.images.train, options)
    found = asked.criterion("wavelet")
    assert all(map(torch.equal, found, (one.saliency for one in expected)))
    assert not all(map(torch.equal, found, usual.criterion("wavelet")))


def test_each_criterion_has_a_number_for_each_channel_and_is_computed_once(problem):
    stood_on = problem()
    assert tuple(stood_on.criteria) == CRITERIA
    for name, values in stood_on.criteria.items():
        assert [len(value) for value in values] == stood_on.space.full.tolist()
        assert stood_on.criterion(name) is values
        assert np.isfinite(torch.cat(values).numpy()).all()
