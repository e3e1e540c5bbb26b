import copy

import pytest
import torch
from torch import nn

from edgeprune.prune.images.held import IMAGENET, HeldImages
from edgeprune.prune.saliency import curvature
from edgeprune.prune.slimming import compensation
from edgeprune.prune.slimming.compensation import compensate
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.refit import Refit
from edgeprune.prune.space.plan import PruningPlan, whole
from edgeprune.prune.tracing.trace import trace
from tests.models import NETS, lively


@pytest.fixture(scope="module")
def traced():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lively(NETS["resnet"]())
        model.train()(torch.randn(64, 3, 8, 8))
    return trace(model.eval(), torch.zeros(1, 3, 8, 8))


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (96, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return HeldImages(pixels, torch.arange(96) % 5, normalisation=IMAGENET)


def never():
    raise AssertionError("only the method fold needs the fold")


def half(traced):
    kept = {g.name: tuple(range(0, g.width, 2)) for g in traced.groups}
    return PruningPlan(model="m", kept=kept)


def test_without_compensation_the_weights_are_those_of_the_dense_network(traced, images):
    found = compensate(traced, whole(traced.groups, "m"), images, images, "none", never)
    assert (found.method, found.divergence) == ("none", {})
    for name, value in found.model.named_parameters():
        assert torch.equal(value, traced.model.get_parameter(name))


def test_what_follows_the_dense_network_better_on_held_out_images_is_taken(traced, images):
    found = compensate(traced, half(traced), images, images, "refit", never)
    assert set(found.divergence) == {"none", "refit"}
    assert found.divergence[found.method] == min(found.divergence.values())


def test_a_refit_that_follows_worse_is_not_taken(traced, images, monkeypatch):
    def ruined(slim, *_):
        model = copy.deepcopy(slim)
        for value in model.parameters():
            nn.init.normal_(value, std=10.0)
        return Refit(model, {})

    monkeypatch.setattr(compensation, "refit", ruined)
    assert compensate(traced, half(traced), images, images, "refit", never).method == "none"


def test_a_fold_is_asked_for_once_and_judged_like_a_refit(traced, images):
    asked = []

    def folding():
        asked.append(1)
        return Folding(traced, curvature.measure(traced, images))

    found = compensate(traced, half(traced), images, images, "fold", folding)
    assert len(asked) == 1
    assert set(found.divergence) == {"none", "fold"}
    assert found.divergence[found.method] == min(found.divergence.values())
