import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.prune.slimming import least_squares
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, whole
from edgeprune.prune.tracing.trace import trace
from tests.models import NETS, Residual, basic, conv, draw_plan, head, lively


def network(name, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return lively(NETS[name]()).eval(), torch.randn(24, 3, 8, 8)


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_plan_that_removes_nothing_leaves_every_weight(name):
    model, images = network(name)
    traced = trace(model, images[:1])
    found = refit(
        slim(traced, whole(traced.groups, "m")), traced, whole(traced.groups, "m"), images
    )
    assert not found.left
    dense = model.state_dict()
    assert all(torch.equal(value, dense[key]) for key, value in found.model.state_dict().items())


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("seed", range(3))
def test_any_network_runs_and_what_has_no_closed_form_is_named(name, seed):
    model, images = network(name)
    traced = trace(model, images[:1])
    plan = draw_plan(traced, seed)
    slimmed = slim(traced, plan)
    before = {key: value.clone() for key, value in slimmed.state_dict().items()}
    found = refit(slimmed, traced, plan, images)
    assert found.model(images).isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in slimmed.state_dict().items())
    for layer, reason in found.left.items():
        assert "once" in reason or "ConvTranspose" in reason or "padding" in reason
        now = found.model.get_submodule(layer).weight
        assert torch.equal(now, before[f"{layer}.weight"])


def gone(model, images, plan):
    """Mean squared distance from the dense logits, slimmed and refitted."""
    traced = trace(model, images[:1])
    slimmed = slim(traced, plan)
    with torch.no_grad():
        dense, cut = model(images), slimmed(images)
        found = refit(slimmed, traced, plan, images).model(images)
    return float(F.mse_loss(cut, dense)), float(F.mse_loss(found, dense))


def test_a_channel_that_another_repeats_is_taken_over(monkeypatch):
    monkeypatch.setattr(least_squares, "RIDGE", 1e-9)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), *head(6)).eval()
    with torch.no_grad():
        model[0].weight[3], model[0].bias[3] = model[0].weight[1], model[0].bias[1]
    plan = PruningPlan(model="m", kept={"0": (0, 1, 2), "2": tuple(range(6))})
    cut, found = gone(model, torch.randn(24, 3, 12, 12), plan)
    assert found < 1e-10 < cut


def test_the_branch_that_stays_takes_over_what_a_dropped_one_did():
    torch.manual_seed(1)
    stem = [conv(3, 8), nn.ReLU()]
    model = nn.Sequential(*stem, Residual(basic(8, 8)), Residual(basic(8, 8)), *head(8))
    images = torch.randn(256, 3, 8, 8)
    model.train()(images)  # BatchNorm's statistics are those of the images
    model.eval()
    traced = trace(model, images[:1])
    kept = {
        g.name: () if g.block == traced.blocks[0].name else tuple(range(g.width))
        for g in traced.groups
    }
    cut, found = gone(model, images, PruningPlan(model="m", kept=kept))
    assert found < 0.7 * cut
