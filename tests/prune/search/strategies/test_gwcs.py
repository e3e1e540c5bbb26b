"""GWCS by widths and by bits: under every limit, at the least damage, staged, repeatable."""

import itertools

import numpy as np
import pytest
import torch

from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.sensitivity import SCALE
from edgeprune.prune.search.strategies import gwcs
from edgeprune.prune.space.budget import Limits

SETTINGS = Settings(population=24, generations=25)
BUDGETS = [
    Limits(latency=0.6),
    Limits(macs=0.4),
    Limits(latency=0.8, macs=0.7, params=0.5),
]


def floor_of(problem):
    least = np.array([[grid[0] for grid in problem.space.grids]])
    return problem.costs.ratios(problem.space.settle(least))[0]


@pytest.fixture(params=["widths", "bits"])
def problem_of(request, judged_problem):
    def make(kind, **given):
        problem = judged_problem(kind, genome=request.param, **given)
        vars(problem)["settings"] = SETTINGS
        judge = problem.evaluator
        worth = [w / w.sum() * k for w, k in zip(judge.worth, judge.weight, strict=True)]
        vars(problem)["interactions"] = tuple(torch.diag(torch.from_numpy(w)) for w in worth)
        vars(problem)["curvature"] = None
        vars(problem)["criteria_names"] = ("wavelet",)
        return problem

    return make


@pytest.mark.parametrize("kind", ["residual", "bottleneck", "plain"])
@pytest.mark.parametrize("limits", BUDGETS, ids=["latency", "macs", "all"])
def test_the_budget_is_kept_and_nearly_used(problem_of, kind, limits):
    choice = gwcs.search(problem_of(kind), limits)
    assert (choice.ratios <= limits.vector()).all()
    assert (choice.ratios / limits.vector()).max() > 0.7


@pytest.mark.parametrize("above", [1.0, 1.02, 1.3])
def test_every_limit_that_the_smallest_widths_keep_is_kept(problem_of, above):
    problem = problem_of("residual")
    limits = Limits(*np.minimum(above * floor_of(problem), 0.95).tolist())
    assert (gwcs.search(problem, limits).ratios <= limits.vector()).all()


def test_a_limit_below_the_floor_ends_near_the_floor(problem_of):
    problem = problem_of("plain")
    choice = gwcs.search(problem, Limits(macs=1e-6))
    assert choice.widths.tolist() == [4, 4, 4]


def test_without_a_budget_the_ratio_is_an_outcome(problem_of):
    choice = gwcs.search(problem_of("residual"), Limits())
    assert 0 < choice.ratios[0] < 1
    assert set(choice.scores) == {"damage"}
    assert choice.scores["damage"] > 0


def test_the_same_seed_gives_the_same_choice(problem_of):
    first, second = (gwcs.search(problem_of("residual"), Limits(latency=0.6)) for _ in range(2))
    assert first.kept == second.kept


def test_stages_are_told_one_after_the_other(problem_of):
    told = []
    problem = problem_of("residual", progress=lambda *step: told.append(step))
    gwcs.search(problem, Limits(latency=0.6))
    steps = [done for name, done, *_ in told if name == "searching"]
    stages = len(problem.space.stages)
    assert steps == list(range(1, stages * SETTINGS.generations + 1))


def test_widths_find_the_least_damage_that_there_is(judged_problem):
    """By brute force over all widths of a small space."""
    problem = judged_problem("plain", genome="widths")
    vars(problem)["criteria_names"] = ("wavelet",)
    vars(problem)["settings"] = SETTINGS
    limits = Limits(latency=0.6)
    every = np.array(list(itertools.product(*problem.space.grids)))
    within = every[(problem.costs.ratios(every) <= limits.vector()).all(1)]
    least = min(
        sum(problem.damage("wavelet", i, w) for i, w in enumerate(widths)) for widths in within
    )
    _, front = gwcs._evolved(problem, limits)
    assert front.values[:, 0].min() == pytest.approx(SCALE * least, rel=1e-4)


@pytest.mark.parametrize("effort", [1, 3, 5])
def test_no_more_of_the_front_is_scored_than_was_asked_for(judged_problem, effort):
    problem = judged_problem("residual", genome="widths", effort=effort)
    vars(problem)["criteria_names"] = ("wavelet",)
    vars(problem)["settings"] = SETTINGS
    assert gwcs.search(problem, Limits(latency=0.6)).ratios[0] <= 0.6
    assert len(problem.evaluator.asked) == effort


def test_without_time_the_start_of_each_stage_still_gives_a_choice(judged_problem):
    problem = judged_problem("residual", genome="widths", left=lambda: -1.0)
    vars(problem)["criteria_names"] = ("wavelet",)
    vars(problem)["settings"] = SETTINGS
    assert gwcs.search(problem, Limits(latency=0.6)).ratios[0] <= 0.6


def test_by_widths_the_front_is_scored_refitted_and_distilled(judged_problem):
    problem = judged_problem("residual", genome="widths")
    vars(problem)["criteria_names"] = ("wavelet",)
    vars(problem)["settings"] = SETTINGS
    choice = gwcs.search(problem, Limits(latency=0.6))
    assert {"loss", "refit loss", "F2 loss", "damage"} <= set(choice.scores)
    judge = problem.evaluator
    distilled = list(judge.distilled_plans)  # to ask the judge again makes the list longer
    chosen = min(distilled, key=lambda it: (-it[1], judge.distilled(*it).loss))[0]
    assert choice.kept == chosen.kept
