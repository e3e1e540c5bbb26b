import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import IMAGENET, HeldImages
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import smoea
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space import widths as space
from edgeprune.prune.space.budget import Costs, Limits
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.tracing.trace import trace
from edgeprune.prune.training.batchnorm import recalibrate
from tests.models import group_of

QUICK = Settings(population=6, generations=2)


def pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return HeldImages(pixels, torch.arange(count) % 5)


IMAGES = DataSet(
    name="noise",
    classes=tuple("abcde"),
    train=pictures(40, 0),
    val=pictures(20, 1),
    test=pictures(5, 2),
    input_shape=(3, 8, 8),
    normalisation=IMAGENET,
    fingerprint="x",
)


def problem_of(model, grid=(2, 4, 6, 8), **fields):
    """Latency counts channels; BatchNorm is made to fit the images, as training would have."""
    fitted = recalibrate(model.float(), IMAGES.train, device=torch.device("cpu"))
    traced = trace(fitted, torch.zeros(1, 3, 8, 8))
    counts = CostModel(traced)

    def latency(widths):
        return 10.0 + widths.sum(1)

    spaced = space.build(traced.groups, grid)
    costs = Costs(spaced.full, (latency, counts.macs, counts.params))
    given = {"settings": QUICK, **fields}
    return Problem(trace=traced, space=spaced, costs=costs, images=IMAGES, **given)


@pytest.fixture
def problem(tiny):
    return problem_of(tiny("resnet")[0], criteria_names=("l1", "taylor"))


def floor(problem):
    return problem.costs.ratios(np.array([[grid[0] for grid in problem.space.grids]]))[0]


@pytest.mark.parametrize("name", ["latency", "macs", "params"])
@pytest.mark.parametrize("above", [1.0, 1.05, 1.5])
def test_every_limit_that_the_smallest_widths_keep_is_kept(problem, name, above):
    least = floor(problem)[("latency", "macs", "params").index(name)]
    limits = Limits(**{name: min(0.95, above * least)})
    choice = smoea.search(problem, limits)
    assert (choice.ratios <= limits.vector()).all()
    assert choice.widths.tolist() == [len(choice.kept[g.name]) for g in problem.space.groups]
    assert all(w in grid for w, grid in zip(choice.widths, problem.space.grids, strict=True))


def test_several_limits_hold_at_once(problem):
    limits = Limits(latency=0.8, params=0.6)
    assert (smoea.search(problem, limits).ratios <= limits.vector()).all()


def test_a_mild_budget_is_nearly_used(problem):
    choice = smoea.search(problem, Limits(latency=0.8))
    assert 0.65 < choice.ratios[0] <= 0.8


def test_a_limit_out_of_reach_ends_on_the_smallest_widths(problem):
    choice = smoea.search(problem, Limits(latency=0.01))
    assert choice.widths.tolist() == [grid[0] for grid in problem.space.grids]


def test_without_a_budget_the_ratio_is_an_outcome_of_one_round(problem):
    told = []
    heard = replace(problem, progress=lambda step, done, total: told.append((done, total)))
    choice = smoea.search(heard, Limits())
    total = 2 * len(smoea.subnetworks(problem.space))
    assert floor(problem)[0] < choice.ratios[0] < 1
    assert told == [(done, total) for done in range(1, total + 1)]


def test_the_same_seed_gives_the_same_choice(problem):
    first, second = (smoea.search(problem, Limits(latency=0.6)) for _ in range(2))
    assert first.kept == second.kept


@pytest.mark.parametrize("name", ["vgg", "bottleneck", "resnext", "mobilenet", "awkward"])
def test_whatever_is_coupled_is_pruned_and_runs(tiny, name):
    problem = problem_of(tiny(name)[0], grid=(4, 8, 12), criteria_names=("l1",))
    least = floor(problem)[0]
    limits = Limits(latency=(1 + 2 * least) / 3)
    choice = smoea.search(problem, limits)
    assert choice.ratios[0] <= limits.latency
    small = slim(problem.trace, choice.plan(name))
    assert small(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_a_network_that_answers_nan_still_keeps_the_budget(tiny):
    model = tiny("resnet")[0]
    model[0][0].weight.data[:] = torch.nan
    problem = problem_of(model, criteria_names=("bn",))
    assert smoea.search(problem, Limits(latency=0.6)).ratios[0] <= 0.6


def test_damages_of_other_limits_change_nothing(problem, tmp_path):
    kept = replace(problem, folder=tmp_path)
    smoea.search(kept, Limits(latency=0.9))
    again = smoea.search(replace(kept), Limits(latency=0.5))
    assert again.kept == smoea.search(problem, Limits(latency=0.5)).kept
    assert again.scores == smoea.search(problem, Limits(latency=0.5)).scores


class Distrustful(Memo):
    """Computes everything again and compares it with what the same key held before."""

    def __init__(self):
        self.found, self.again = {}, 0

    def recall(self, kind, given, compute):
        key, numbers = json.dumps([kind, given]), compute()
        self.again += key in self.found
        assert self.found.setdefault(key, numbers) == numbers
        return numbers


def test_whatever_a_damage_depends_on_is_in_its_key(problem):
    """Each step begins with what the last one chose: the same masks, but another damage."""
    memo = Distrustful()
    for limits in (Limits(), Limits(latency=0.9), Limits(latency=0.6)):
        one = replace(problem)
        vars(one)["memo"] = memo
        smoea.search(one, limits)
    assert memo.again > 10


def test_damages_of_other_images_or_another_network_are_not_taken(problem, tmp_path):
    """Each search runs in the folder of the first, and alone: the same damages."""
    limits = Limits(latency=0.6)
    smoea.search(replace(problem, folder=tmp_path), limits)
    torch.manual_seed(1)
    shaken = copy.deepcopy(problem.trace.model)
    with torch.no_grad():
        for parameter in shaken.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    others = (
        replace(problem, images=replace(IMAGES, val=pictures(20, 7), fingerprint="y")),
        replace(problem, settings=replace(QUICK, seed=1)),
        replace(problem, trace=trace(shaken, torch.zeros(1, 3, 8, 8))),
    )
    for other in others:
        there = smoea.search(replace(other, folder=tmp_path), limits)
        assert there.scores == smoea.search(other, limits).scores


def groups_of(*specs):
    return tuple(group_of(f"g{i}", 8, stage=s, block=b) for i, (s, b) in enumerate(specs))


SHARES = {
    "four of a stage are halved": ([(0, None)] * 4, ((0, 1), (2, 3))),
    "stages stay apart": ([(0, None), (1, None), (0, None)], ((0, 2), (1,))),
    "seven make three": ([(0, None)] * 7, ((0, 1, 2), (3, 4), (5, 6))),
    "a branch is not split": (
        [(0, None), (0, "a"), (0, "a"), (0, "b"), (0, "b")],
        ((0, 1, 2), (3, 4)),
    ),
}


@pytest.mark.parametrize(("specs", "parts"), SHARES.values(), ids=SHARES)
def test_consecutive_layers_are_shared_out_evenly(specs, parts):
    groups = groups_of(*specs)
    assert smoea.subnetworks(space.PruningSpace(groups, ((4, 8),) * len(groups))) == parts


def test_the_paper_s_own_setting_is_a_budget_like_others(monkeypatch):
    """VGG-14 at 16.56 % of its parameters, with as little evolution as there can be."""
    monkeypatch.setattr(smoea, "ROUNDS", 1)
    torch.manual_seed(0)
    images = replace(IMAGES, train=big(16, 0), val=big(16, 1), input_shape=(3, 32, 32))
    model = recalibrate(build(ModelSpec("vgg14", num_classes=5)), images.train)
    traced = trace(model, torch.zeros(1, 3, 32, 32))
    counts = CostModel(traced)
    spaced = space.build(traced.groups, (16, 32, 64, 128))
    costs = Costs(spaced.full, (counts.macs, counts.macs, counts.params))
    problem = Problem(
        trace=traced,
        space=spaced,
        costs=costs,
        images=images,
        settings=Settings(population=6, generations=0),
        criteria_names=("l1",),
    )
    choice = smoea.search(problem, Limits(params=0.1656))
    assert 0.1 < choice.ratios[2] <= 0.1656


def big(count, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return HeldImages(pixels, torch.arange(count) % 5)
