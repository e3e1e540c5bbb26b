"""Fold: exact where channels repeat each other, nothing where nothing was removed."""

import pytest
import torch
from torch import nn

from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.saliency import surgeon
from edgeprune.prune.saliency.curvature import measure
from edgeprune.prune.slimming.fold import Folding
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, whole
from edgeprune.prune.tracing.trace import trace
from tests.models import NETS, draw_plan, lively

SIDE = 8


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, SIDE, SIDE), generator=generator)
    return HeldImages(pixels.to(torch.uint8), torch.arange(40) % 5)


def folding_of(model, images):
    traced = trace(model.eval(), torch.zeros(1, 3, SIDE, SIDE))
    return Folding(traced, measure(traced, images))


def network(name, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return lively(NETS[name]())


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_plan_that_removes_nothing_leaves_every_bit(name, images):
    model = network(name)
    folding = folding_of(model, images)
    found = folding.slim(whole(folding.trace.groups, "m")).state_dict()
    dense = model.state_dict()
    assert all(torch.equal(value, dense[key]) for key, value in found.items())


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("seed", range(2))
def test_any_network_folds_and_has_the_shapes_of_the_slim_one(name, seed, images):
    folding = folding_of(network(name), images)
    plan = draw_plan(folding.trace, seed)
    found, plain = folding.slim(plan), slim(folding.trace, plan)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert {key: value.shape for key, value in found.state_dict().items()} == shapes
    assert found.eval()(torch.randn(2, 3, SIDE, SIDE)).isfinite().all()
    for layer in folding.left:
        if f"{layer}.weight" in shapes:
            kept = plain.get_submodule(layer).weight
            assert torch.equal(found.get_submodule(layer).weight, kept)


def chain(middle: nn.Module, *rest: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), middle, *rest).eval()


MIDDLES = {
    "convolution": lambda: (nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Flatten()),
    "grouped": lambda: (nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten()),
    "linear": lambda: (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_a_channel_that_another_repeats_is_taken_over(name, images, monkeypatch):
    """Channels 0 and 4 give way to 1 and 5, which say the same; so for both groups of a layer."""
    monkeypatch.setattr(surgeon, "RIDGE", 1e-9)
    model = chain(*MIDDLES[name]())
    with torch.no_grad():
        for gone, twin in ((0, 1), (4, 5)):
            model[0].weight[gone], model[0].bias[gone] = model[0].weight[twin], model[0].bias[twin]
    folding = folding_of(model, images)
    kept = {g.name: tuple(range(g.width)) for g in folding.trace.groups}
    first = folding.trace.groups[0]
    kept[first.name] = tuple(c for c in range(first.width) if c not in (0, 4))
    (batch,) = images.batches(40)
    with torch.no_grad():
        dense = model(batch[0])
        found = folding.slim(PruningPlan(model="m", kept=kept))(batch[0])
        plain = slim(folding.trace, PruningPlan(model="m", kept=kept))(batch[0])
    assert (found - dense).norm() < 1e-3 * dense.norm()
    assert (plain - dense).norm() > 0.05 * dense.norm()


def test_a_bias_takes_the_mean_of_a_channel_that_never_changes(images, monkeypatch):
    model = chain(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Flatten())
    with torch.no_grad():
        model[0].weight[2], model[0].bias[2] = 0.0, 1.5
    folding = folding_of(model, images)
    first = folding.trace.groups[0]
    kept = {g.name: tuple(range(g.width)) for g in folding.trace.groups}
    kept[first.name] = tuple(c for c in range(8) if c != 2)
    (batch,) = images.batches(40)
    with torch.no_grad():
        dense = model(batch[0])
        found = folding.slim(PruningPlan(model="m", kept=kept))(batch[0])
    assert (found - dense).norm() < 1e-3 * dense.norm()
