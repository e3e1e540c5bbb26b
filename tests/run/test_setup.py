from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import InputError
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.tracing.trace import trace
from edgeprune.run import basis
from edgeprune.run.basis import Basis
from edgeprune.run.folder import RunFolder
from edgeprune.run.request import Request
from edgeprune.run.setup import pose, set_up
from edgeprune.target import RelativeBudget, load_target
from tests.images import grey_noise
from tests.models import NETS, lively


def request(**changes):
    target, budget = load_target("mobile-cpu"), RelativeBudget(latency=0.5)
    return Request(target=target, model=ModelSpec("resnet20"), budget=budget, **changes)


def images(count=40):
    noise = grey_noise(count)
    return SimpleNamespace(
        train=noise, val=noise, test=noise, input_shape=(3, 8, 8), classes=("0", "1"),
        fingerprint=f"{count} images", name="noise", normalisation=noise.normalisation,
        splits=None,
    )  # fmt: skip


def test_the_problem_has_the_grid_and_the_costs_of_the_table():
    traced = trace(lively(NETS["resnet"]()).eval(), torch.zeros(1, 3, 8, 8))
    latency = SimpleNamespace(grid=(4, 8), predict=lambda widths: widths.sum(1), error=0.02)
    problem = pose(traced, latency, images(), model="resnet")
    assert problem.space.grids[0] == (4, 8)
    assert (problem.latency_error, problem.model) == (0.02, "resnet")
    half = np.where(problem.space.full == 8, 4, problem.space.full)[None]
    share = problem.costs.ratios(half)[0]
    assert share[0] == half.sum() / problem.space.full.sum()
    assert 0 < share[1] < 1 and 0 < share[2] < 1


def test_the_basis_changes_with_the_images_and_with_any_weight():
    def digest(model, count=40):
        dense = SimpleNamespace(model=model)
        parts = dict.fromkeys(("spec", "origin", "export", "trace", "wavelet", "task"))
        return Basis(**parts, images=images(count), dense=dense).digest

    model = nn.Linear(2, 2)
    first = digest(model)
    assert digest(model) == first != digest(model, 41)
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert digest(model) != first


def test_a_model_of_which_nothing_can_be_pruned_is_refused(monkeypatch, tmp_path):
    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(192, 2)

        def forward(self, x):
            return self.head(x.flatten(1)) if x.sum() > -1e9 else x

    dense = SimpleNamespace(
        model=Opaque(), accuracy=0.9, origin="trained", seen_validation=False, recognised=""
    )
    monkeypatch.setattr(basis.datasets, "load", lambda *_, **__: images())
    monkeypatch.setattr(basis, "obtain", lambda *_, **__: dense)
    with pytest.raises(InputError, match="nothing of resnet20 can be pruned"):
        set_up(request(), RunFolder(tmp_path), lambda step, done, total: None)
