"""What strategies share: criteria computed once, from the wavelet that was asked for."""

import numpy as np
import pytest
import torch

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import IMAGENET, HeldImages
from edgeprune.prune.saliency import surgeon
from edgeprune.prune.saliency.curvature import WaveletOptions, measure
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
        input_shape=(3, 16, 16),
        normalisation=IMAGENET,
        fingerprint="x",
    )
    costs = Costs(space.full, (lambda widths: widths.sum(1),) * 3)

    def make(**fields):
        return Problem(trace=traced, space=space, costs=costs, images=images, **fields)

    return make


def test_the_wavelet_criterion_follows_the_options(problem):
    options = WaveletOptions("db2", 24, 3)
    asked, usual = problem(wavelet=options), problem()
    curvature = measure(asked.trace, asked.images.train, options)
    expected = surgeon.orders(curvature, asked.trace.groups)
    for found, order, other in zip(asked.orders, expected, usual.orders, strict=True):
        assert np.array_equal(found.damage, order.damage)
        assert not np.array_equal(found.damage, other.damage)
    assert all(map(torch.equal, asked.criterion("wavelet"), (one.saliency for one in expected)))


def test_each_criterion_has_a_number_for_each_channel_and_is_computed_once(problem):
    stood_on = problem(criteria_names=CRITERIA)
    assert tuple(stood_on.criteria) == CRITERIA
    for name, values in stood_on.criteria.items():
        assert [len(value) for value in values] == stood_on.space.full.tolist()
        assert stood_on.criterion(name) is values
        assert np.isfinite(torch.cat(values).numpy()).all()


def test_by_default_the_wavelet_order_ranks_alone(problem):
    assert tuple(problem().criteria) == ("wavelet",)


def test_the_damage_of_the_order_is_that_of_the_schur_complement(problem):
    stood_on = problem()
    for index, group in enumerate(stood_on.space.groups):
        order = stood_on.orders[index]
        for width in range(group.width + 1):
            kept = np.isin(np.arange(group.width), order.channels[:width])
            exact = surgeon.damage(stood_on.curvature, index, kept)
            assert stood_on.damage("wavelet", index, width) == pytest.approx(exact, abs=1e-9)


def test_the_damage_of_another_criterion_is_that_of_its_channels(problem):
    stood_on = problem()
    saliency = stood_on.criterion("l1")[0]
    kept = np.isin(np.arange(6), saliency.argsort(descending=True)[:2].numpy())
    expected = surgeon.damage(stood_on.curvature, 0, kept)
    assert stood_on.damage("l1", 0, 2) == pytest.approx(expected)
    assert stood_on.damage("l1", 0, 2) >= stood_on.damage("wavelet", 0, 2) * 0.999


@pytest.mark.parametrize("fold", [True, False])
def test_scores_are_of_folded_networks_unless_told_otherwise(problem, fold):
    stood_on = problem(fold=fold)
    assert (stood_on.evaluator._folding is not None) is fold
