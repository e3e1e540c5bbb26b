"""Strategies by name, all behind one seam."""

import dataclasses

import pytest

from edgeprune.errors import InputError
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.search.strategies.names import DEFAULT, LEAST, NAMES, refuse_unknown
from edgeprune.prune.search.strategies.registry import searcher
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import check
from edgeprune.prune.space.selection import Selection, left_whole
from edgeprune.prune.space.widths import build


def test_every_strategy_that_papers_are_compared_by_is_there():
    wanted = {"joint", "gwcs", "random", "uniform", "l1", "bn", "taylor", "depth"}
    assert wanted <= set(NAMES)
    assert DEFAULT == "joint"
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"depth"}))
def test_each_keeps_its_limit_on_a_true_network(real_problem, name):
    problem = real_problem("resnet")
    limits = Limits(latency=0.8)
    choice = searcher(name, problem)(limits)
    assert (choice.ratios <= limits.vector()).all()
    kept = check(choice.plan("resnet"), problem.trace.groups)
    assert [len(stay) for stay in kept] == choice.widths.tolist()
    assert choice.ratios == pytest.approx(problem.costs.ratios(choice.widths[None])[0])


def test_depth_drops_branches_of_a_true_network(real_problem):
    problem = real_problem("resnet")
    choice = searcher("depth", problem)(Limits(latency=0.99))
    assert choice.ratios[0] <= 0.99
    assert 0 in choice.widths


@pytest.mark.parametrize(
    ("name", "genome"), [("gwcs", "bits"), *((name, "widths") for name in NAMES)]
)
@pytest.mark.parametrize(
    ("selection", "limits"),
    [
        (Selection(keep=("2.branch.2.0", "4.branch.0")), Limits(latency=0.9)),
        (Selection(only=("3", "4.branch.0")), Limits(latency=0.93)),
    ],
    ids=["keep", "only"],
)
def test_each_leaves_alone_what_its_user_named(real_problem, name, genome, selection, limits):
    problem = real_problem("resnet", genome=genome)
    left = left_whole(problem.trace, selection)
    space = build(problem.trace.groups, (8, 16), left)
    choice = searcher(name, dataclasses.replace(problem, space=space))(limits)
    kept = dict(zip(choice.kept, choice.widths.tolist(), strict=True))
    for group in space.groups:
        if group.name in left.groups:
            assert choice.kept[group.name] == tuple(range(group.width))
        if group.block in left.branches:
            assert kept[group.name] > 0
    assert 0 < len(left.groups) < len(space.groups)
    assert (choice.widths < space.full).any()  # what may be pruned is


def test_strategies_that_choose_by_another_criterion_choose_otherwise(real_problem):
    problem = real_problem("resnet")
    kept = {
        name: str(searcher(name, problem)(Limits(latency=0.7)).kept)
        for name in ("uniform", "l1", "bn", "taylor")
    }
    assert len(set(kept.values())) == 4


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("jiont", "did you mean 'joint'"),
        ("tailor", "did you mean 'taylor'"),
        ("zzz", "known: joint"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, hint, real_problem):
    with pytest.raises(InputError, match=hint):
        refuse_unknown(name)
    with pytest.raises(InputError, match=hint):
        registry.searcher(name, real_problem("vgg"))


@pytest.mark.parametrize("name", NAMES)
def test_known_names_are_not_refused(name):
    assert refuse_unknown(name) is None


def test_joint_scores_no_more_than_it_is_said_to_score_in_any_case(real_problem):
    problem = real_problem("resnet")
    tight = dataclasses.replace(problem.effort, evaluations=1)
    object.__setattr__(problem, "effort", tight)
    searcher("joint", problem)(Limits(latency=0.8))
    rules = 2 + len(problem.criteria_names)
    assert 1 < problem.evaluator.evaluated <= 2 * rules
    assert LEAST["joint"] == 2 * (2 + len(Problem.__dataclass_fields__["criteria_names"].default))
