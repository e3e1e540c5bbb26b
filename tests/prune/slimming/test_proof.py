"""A group whose slimming would answer otherwise is found by trying, and left whole."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.prune.slimming.proof import carried, proven
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.tracing import module_rules
from edgeprune.prune.tracing.propagation import Rule
from edgeprune.prune.tracing.trace import trace
from tests.models import draw_plan, tiny


def test_a_network_that_slims_exactly_is_left_as_it_is() -> None:
    model, x = tiny("awkward")
    assert [g.name for g in proven(model, x).groups] == [g.name for g in trace(model, x).groups]
    assert not proven(model, x).unfollowed


@pytest.fixture
def wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that lets channels through a layer in which neighbours meet."""
    rules: dict[type[nn.Module], Rule] = {
        **module_rules._RULES,
        nn.LocalResponseNorm: module_rules._RULES[nn.ReLU],
    }
    monkeypatch.setattr(module_rules, "_RULES", rules)


@pytest.mark.usefixtures("wrong_rule")
def test_only_the_group_that_a_wrong_rule_breaks_is_kept_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.LocalResponseNorm(5, alpha=1.0), nn.Conv2d(12, 8, 1), nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    ).eval()  # fmt: skip
    x = torch.randn(1, 3, 4, 4)
    assert [g.name for g in trace(model, x).groups] == ["0", "2"]
    traced = proven(model, x)
    assert [g.name for g in traced.groups] == ["2"]
    (place,) = traced.unfollowed
    assert place.node == "0"
    assert "other answers" in place.reason
    plan = draw_plan(traced, 0)
    assert torch.allclose(
        slim(traced, plan, fold_constants=False)(x), carried(traced, plan, x), atol=1e-6
    )


def test_groups_are_kept_whole_by_name() -> None:
    model, x = tiny("resnet")
    every = [g.name for g in trace(model, x).groups]
    traced = trace(model, x, whole=every[:2])
    assert [g.name for g in traced.groups] == every[2:]
    plan = draw_plan(traced, 1)
    found = slim(traced, plan, fold_constants=False)(x)
    assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)


def test_a_slim_network_that_cannot_run_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("sizes do not fit")

    monkeypatch.setattr("edgeprune.prune.slimming.proof.slim", broken)
    model, x = tiny("vgg")
    traced = proven(model, x)
    assert not traced.groups
    assert len(traced.unfollowed) == len(trace(model, x).groups)


def test_carried_masks_what_flows_not_what_is_stored() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 2, 1, bias=False))
    x = torch.randn(1, 3, 2, 2)
    traced = trace(model.eval(), x)
    plan = draw_plan(traced, 0)
    (kept,) = plan.kept.values()
    hidden: Tensor = model[1](model[0](x))[:, list(kept)]
    expected = nn.functional.conv2d(hidden, model[2].weight[:, list(kept)])
    assert torch.allclose(carried(traced, plan, x), expected, atol=1e-6)
