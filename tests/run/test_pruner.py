from types import SimpleNamespace

import pytest

from edgeprune.prune.slimming.compensation import Compensated
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run import pruner
from edgeprune.run.pruner import REFIT_STEPS, Pruner


@pytest.mark.parametrize(
    ("asked", "steps", "method"),
    [
        ("auto", 0, "refit"),
        ("auto", REFIT_STEPS, "refit"),
        ("auto", REFIT_STEPS + 1, "none"),
        ("refit", 10_000, "refit"),
        ("fold", 10_000, "fold"),
        ("none", 0, "none"),
    ],
)
def test_a_refit_comes_before_a_short_training_or_where_it_was_asked_for(
    monkeypatch, asked, steps, method
):
    def compensate(trace, plan, train, held_out, wanted, *_, task):
        return Compensated(None, wanted, {}, {})

    monkeypatch.setattr(pruner, "compensate", compensate)
    request = SimpleNamespace(compensate=asked, recovery=Recipe(steps=steps))
    images = SimpleNamespace(train=range(500), val=range(100))
    problem = SimpleNamespace(trace=None, folding=None)
    context = SimpleNamespace(
        request=request,
        images=images,
        problem=problem,
        folder=None,
        task=None,
    )
    assert Pruner(context, None)._compensated(None).method == method
