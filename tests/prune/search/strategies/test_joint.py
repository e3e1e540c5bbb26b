"""The joint search: under the limits, no worse than any rule, the same again, and resumable."""

import dataclasses
import json
import math

import numpy as np
import pytest

from edgeprune.prune.search.evaluation.evaluator import Evaluator
from edgeprune.prune.search.evaluation.repair import Repair
from edgeprune.prune.search.strategies.controls import Ranked, Uniform
from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import check

KINDS = ["residual", "bottleneck", "plain"]
LIMITS = Limits(latency=0.6)


def within(choice, limits):
    return (choice.ratios <= limits.vector()).all()


def told(choices):
    """Everything about choices, in bytes."""
    content = [
        {
            "kept": {name: list(kept) for name, kept in choice.kept.items()},
            "widths": choice.widths.tolist(),
            "ratios": choice.ratios.round(4).tolist(),
            "scores": {name: round(score, 4) for name, score in choice.scores.items()},
        }
        for choice in choices
    ]
    return json.dumps(content).encode()


def networks(judge):
    return {tuple(plan.kept.items()) for plan in judge.asked}


def with_effort(problem, **changed):
    """The same problem and judge with another effort."""
    other = dataclasses.replace(problem, effort=dataclasses.replace(problem.effort, **changed))
    for name in ("criterion", "damage", "drops", "evaluator"):
        vars(other)[name] = vars(problem)[name]
    return other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "limits",
    [LIMITS, Limits(macs=0.4), Limits(latency=0.8, macs=0.7, params=0.5)],
    ids=["latency", "macs", "all"],
)
def test_the_limits_are_kept_on_the_grid_and_nearly_used(judged_problem, kind, limits):
    problem = judged_problem(kind)
    choice = Joint(problem)(limits)
    assert within(choice, limits)
    assert (choice.ratios / limits.vector()).max() > 0.85
    kept = check(choice.plan("x"), problem.space.groups)
    assert [len(stay) for stay in kept] == choice.widths.tolist()
    assert all(w in grid for w, grid in zip(choice.widths, problem.space.grids, strict=True))
    assert set(choice.scores) == {
        *("loss", "accuracy", "refit loss", "refit accuracy", "F2 loss", "F2 accuracy")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_a_rule_found_beats_the_best_that_was_scored(judged_problem, kind):
    problem = judged_problem(kind)
    search = Joint(problem)
    search(LIMITS)
    judge, encoding = problem.evaluator, search.encoding
    best = judge.loss(encoding.plan(search.archive.ranked(LIMITS)[0]))
    assert set(search.rules(LIMITS)) == {"uniform", "depth", "taylor", "l1"}
    for name, seed in search.rules(LIMITS).items():
        keeps = problem.costs.ratios(encoding.widths(seed[None]))[0, 0] <= LIMITS.latency
        assert not keeps or best <= judge.loss(encoding.plan(seed)) + 1e-12, name


def test_rules_are_brought_to_the_budget_as_the_controls_of_their_names_are(judged_problem):
    problem = judged_problem("residual")
    search = Joint(problem)
    search(LIMITS)
    for name in ("taylor", "l1"):
        kept = search.encoding.plan(search.rules(LIMITS)[name]).kept
        assert kept == Ranked(problem, name)(LIMITS).kept
    widths = search.encoding.widths(search.rules(LIMITS)["uniform"][None])[0]
    assert widths.tolist() == Uniform(problem)(LIMITS).widths.tolist()


def test_once_the_seeds_are_known_only_networks_just_under_the_limits_are_scored(judged_problem):
    problem = judged_problem("residual", effort=300)
    search = Joint(problem)
    search(LIMITS)
    seeds = search.encoding.canonical(np.array(list(search.rules(LIMITS).values()), np.int64))
    last = search.archive.genomes[-48:]
    last = last[~(last[:, None] == seeds[None]).all(2).any(1)]
    assert len(last) > 40
    assert (search.archive.excess(last, LIMITS) == 0).all()
    repair = Repair(search.encoding, problem.costs, LIMITS, search.sensitivity)
    assert np.array_equal(repair(last), last)


def test_a_search_betters_every_rule_where_the_rules_are_blind(judged_problem):
    """Each criterion knows half of the groups: only their mixture is good."""
    problem = judged_problem("residual", effort=300)
    search = Joint(problem)
    search(LIMITS)
    judge, encoding = problem.evaluator, search.encoding
    best = judge.loss(encoding.plan(search.archive.ranked(LIMITS)[0]))
    for name in ("uniform", "taylor", "l1"):
        assert best < 0.95 * judge.loss(encoding.plan(search.rules(LIMITS)[name]))


def test_the_choice_is_no_worse_distilled_than_the_best_rules(judged_problem):
    problem = judged_problem("residual")
    search = Joint(problem)
    choice = search(LIMITS)
    judge, steps = problem.evaluator, [steps for _, steps in problem.evaluator.distilled_plans]
    first_rung, last_rung = (
        [plan for plan, its in judge.distilled_plans if its == steps[end]] for end in (0, -1)
    )
    assert choice.scores["F2 loss"] == min(
        judge.distilled(plan, steps[-1]).loss for plan in last_rung
    )
    repair = Repair(search.encoding, problem.costs, LIMITS, search.sensitivity)
    rules = map(search.encoding.plan, repair(np.array(list(search.rules(LIMITS).values()))))
    first, second, *_ = sorted({judge.loss(plan) for plan in rules})
    assert {first, second} <= {judge.loss(plan) for plan in judge.refitted_plans}
    refitted = list(judge.refitted_plans)  # to ask the judge again makes the list longer
    assert max(judge.refitted(plan).loss for plan in first_rung) <= min(
        judge.refitted(plan).loss for plan in refitted if plan not in first_rung
    )


def test_what_the_damage_alone_finds_is_refitted_though_f1_thinks_little_of_it(judged_problem):
    problem = judged_problem("residual", effort=300)
    judge = problem.evaluator
    search = Joint(problem)
    repair = Repair(search.encoding, problem.costs, LIMITS, search.sensitivity)
    free = [search.encoding.plan(genome) for genome in search._free(repair)]
    poor, usual = {tuple(plan.kept.items()) for plan in free}, judge.loss
    judge.loss = lambda plan: usual(plan) + (9.0 if tuple(plan.kept.items()) in poor else 0.0)
    search(LIMITS)
    refitted = {tuple(plan.kept.items()) for plan in judge.refitted_plans}
    assert len(poor & refitted) == min(len(poor), problem.effort.refitted // 4) > 0
    assert len(refitted) == problem.effort.refitted


@pytest.mark.parametrize("refitted", [0, 2])
def test_where_few_are_refitted_none_is_of_the_damage_alone(judged_problem, refitted):
    problem = with_effort(judged_problem("residual"), refitted=refitted)
    assert within(Joint(problem)(LIMITS), LIMITS)
    assert len(problem.evaluator.refitted_plans) == refitted


def test_all_places_among_the_refitted_and_the_finalists_are_taken(judged_problem):
    problem = judged_problem("residual")
    search = Joint(problem)
    search(LIMITS)
    judge, effort = problem.evaluator, problem.effort
    refitted = {str(plan.kept) for plan in judge.refitted_plans}
    assert len(refitted) == len(judge.refitted_plans) == effort.refitted
    shortest = effort.rungs[0][0]
    finalists = {str(p.kept) for p, steps in judge.distilled_plans if steps == shortest}
    assert len(finalists) == effort.finalists
    best = [search.encoding.plan(g) for g in search.archive.ranked(LIMITS)[:5]]
    assert {str(plan.kept) for plan in best} <= refitted


def test_the_same_seed_gives_the_same_front_to_the_byte(judged_problem):
    made = []
    for seed in (0, 0, 1):
        search = Joint(judged_problem("residual", seed=seed))
        choice = search(LIMITS)
        made.append((told([choice]), told(search.front()), list(search.archive.scores)))
    assert made[0] == made[1]
    assert made[0][2] != made[2][2]


def dear(choice):
    return "refit loss" in choice.scores


def test_nothing_on_the_front_is_beaten(judged_problem):
    search = Joint(judged_problem("residual"))
    search(Limits(latency=0.7))
    search(Limits(latency=0.45))
    front = search.front()
    points = np.array([(c.ratios[0], c.scores["loss"]) for c in front if not dear(c)])
    assert len(points) > 3
    # What was refitted is told as well, beaten or not.
    judged = {str(plan.kept) for plan in search.problem.evaluator.refitted_plans}
    assert {str(c.kept) for c in front if dear(c)} == judged
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()


def test_before_the_first_search_the_front_is_empty(judged_problem):
    assert Joint(judged_problem("plain")).front() == ()


def test_what_one_budget_found_out_serves_the_next(judged_problem):
    effort = 400
    problem = judged_problem("residual", effort=effort)
    search, counts = Joint(problem), []
    for limit in (0.7, 0.6, 0.59):
        assert within(search(Limits(latency=limit)), Limits(latency=limit))
        counts.append(len(problem.evaluator.asked))
        assert len(problem.evaluator.asked) == len(search.archive.scores)
    alone = judged_problem("residual", effort=effort)
    Joint(alone)(Limits(latency=0.6))
    first, second, third = counts[0], counts[1] - counts[0], counts[2] - counts[1]
    assert second < 0.6 * len(alone.evaluator.asked)
    assert third < second
    assert first > third


@pytest.mark.parametrize("slack", [1.03, 1.15])
def test_what_just_missed_a_tighter_budget_is_brought_to_it(judged_problem, slack):
    problem = judged_problem("residual")
    search = Joint(problem)
    search(LIMITS)
    best = search.archive.ranked(LIMITS)[:1]
    tighter = Limits(latency=float(search.archive.choice(best[0]).ratios[0]) / slack)
    search(tighter)
    repair = Repair(search.encoding, problem.costs, tighter, search.sensitivity)
    assert tuple(repair(best)[0].tolist()) in search.archive.scores


def test_the_effort_bounds_what_is_scored(judged_problem):
    """A tenth beyond it: the last generation, seeds, and greedy steps are not cut short."""
    problem = judged_problem("residual", effort=400)
    Joint(problem)(LIMITS)
    assert 200 < len(networks(problem.evaluator)) <= 440


def test_out_of_reach_the_closest_is_returned(judged_problem):
    problem = judged_problem("residual")
    choice = Joint(problem)(Limits(latency=0.01))
    least = np.array([[grid[0] for grid in problem.space.grids]])
    floor = problem.costs.ratios(problem.space.settle(least))[0, 0]
    assert choice.ratios[0] == pytest.approx(floor)


def test_without_a_limit_the_search_ends(judged_problem):
    problem = judged_problem("plain")
    choice = Joint(problem)(Limits())
    assert (
        choice.scores["loss"]
        <= problem.evaluator.loss(Joint(problem).encoding.plan(Joint(problem).encoding.full))
        + 1e-12
    )


@pytest.mark.parametrize("third", [0, 1, 2])
def test_networks_that_score_nan_never_survive(judged_problem, third):
    """A third of all networks breaks down, told by the sum of their channels' numbers."""
    problem = judged_problem("residual")
    dense = sum(map(sum, (range(group.width) for group in problem.space.groups)))

    def spoilt(plan):
        total = sum(map(sum, plan.kept.values()))
        return total != dense and total % 3 == third

    problem.evaluator.spoilt = spoilt
    search = Joint(problem)
    choice = search(LIMITS)
    assert any(math.isnan(score.loss) for score in search.archive.scores.values())
    assert within(choice, LIMITS)
    assert all(math.isfinite(score) for score in choice.scores.values())
    front = search.front()
    assert front
    assert all(math.isfinite(c.scores["loss"]) for c in front)


def test_without_refits_and_with_one_finalist_f1_decides(judged_problem):
    problem = judged_problem("residual")
    search = Joint(with_effort(problem, finalists=1, refitted=0))
    choice = search(LIMITS)
    best = search.archive.ranked(LIMITS)[:1]
    assert choice.scores["loss"] == search.archive.choice(best[0]).scores["loss"]
    assert not {"F2 loss", "refit loss"} & set(choice.scores)


def test_the_search_on_the_free_damage_scores_nothing(judged_problem):
    problem = judged_problem("residual")
    search = Joint(problem)
    repair = Repair(search.encoding, problem.costs, LIMITS, search.sensitivity)
    found = search._free(repair)
    assert not problem.evaluator.asked
    assert (search.archive.excess(found, LIMITS) == 0).all()
    rules = repair(np.array(list(search.rules(LIMITS).values())))
    assert search.sensitivity.losses(found).min() <= search.sensitivity.losses(rules).min()


def test_one_criterion_is_enough(judged_problem):
    problem = judged_problem("residual")
    object.__setattr__(problem, "criteria_names", ("l1",))
    search = Joint(problem)
    assert within(search(LIMITS), LIMITS)
    assert set(search.rules(LIMITS)) == {"uniform", "depth", "l1"}


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_told(judged_problem, kind):
    steps = []
    Joint(judged_problem(kind, progress=lambda *step: steps.append(step)))(LIMITS)
    assert {name for name, *_ in steps} == {
        *("scoring networks", "refitting candidates", "distilling finalists")
    }
    assert all(0 <= done <= total for _, done, total, *_ in steps)
    scored = [total for name, _, total, *_ in steps if name == "scoring networks"]
    assert len(scored) <= 1.1 * scored[0]  # the bar does not sit at its end


@pytest.mark.parametrize("effort", [8, 9, 20, 33, 64, 120])
def test_as_many_networks_are_scored_as_were_asked_for(judged_problem, effort):
    problem = judged_problem("residual", effort=effort)
    Joint(problem)(LIMITS)
    assert len(problem.evaluator.asked) == effort


def test_the_rules_are_scored_whatever_is_asked_for(judged_problem):
    problem = judged_problem("residual", effort=1)
    search = Joint(problem)
    assert within(search(LIMITS), LIMITS)
    assert 1 < len(problem.evaluator.asked) <= 2 * len(search.rules(LIMITS))


def test_a_search_without_time_scores_the_rules_alone_and_chooses_the_best(judged_problem):
    problem = judged_problem("residual", left=lambda: -1.0)
    search = Joint(problem)
    assert within(search(LIMITS), LIMITS)
    assert len(problem.evaluator.asked) <= 2 * len(search.rules(LIMITS))


@pytest.mark.parametrize("name", ["resnet", "vgg", "bottleneck"])
def test_true_networks_are_searched_and_their_test_images_left_alone(real_problem, name):
    problem = real_problem(name)
    limits = Limits(latency=0.8, params=0.9)
    choice = Joint(problem)(limits)
    assert within(choice, limits)
    assert all(math.isfinite(score) for score in choice.scores.values())
    check(choice.plan(name), problem.trace.groups)


class Stopped(Exception):
    pass


def test_a_search_interrupted_twice_goes_on_without_scoring_again(
    real_problem, tmp_path, monkeypatch
):
    limits, judge, judged = Limits(latency=0.8), Evaluator._judge, []
    monkeypatch.setattr(Evaluator, "_judge", lambda *args: judged.append(args) or judge(*args))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    expected = Joint(real_problem("resnet", folder=whole))(limits)
    once = len(judged)

    def stopping(step, after):
        def progress(name, done, total, note=""):
            seen.append(name)
            if seen.count(step) == after:
                raise Stopped

        seen = []
        return progress

    for step, after in (("scoring networks", 3), ("distilling finalists", 2)):
        with pytest.raises(Stopped):
            Joint(real_problem("resnet", folder=parts, progress=stopping(step, after)))(limits)
    assert 3 < len(judged) - once < once
    choice = Joint(real_problem("resnet", folder=parts))(limits)
    notes = [(f / "evaluations.jsonl").read_text("utf-8") for f in (whole, parts)]
    assert told([choice]) == told([expected])
    assert notes[0] == notes[1]
    assert len(judged) == 2 * once
