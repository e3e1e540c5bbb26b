"""Controls: each keeps its limits, and random search gets exactly as many networks."""

import numpy as np
import pytest

from edgeprune.prune.search.strategies.controls import Depth, Random, Ranked, Uniform
from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.space.budget import Limits

KINDS = ["residual", "bottleneck", "plain"]
LIMITS = [Limits(latency=0.8), Limits(latency=0.55, params=0.7), Limits(macs=0.4)]
THINNING = {
    "uniform": Uniform,
    "l1": lambda problem: Ranked(problem, "l1"),
    "taylor": lambda problem: Ranked(problem, "taylor"),
    "random": Random,
}


def within(choice, limits):
    return (choice.ratios <= limits.vector()).all()


def legal(choice, space):
    counts = [len(choice.kept[group.name]) for group in space.groups]
    on_grid = all(w in grid for w, grid in zip(counts, space.grids, strict=True))
    return on_grid and counts == choice.widths.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", THINNING)
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_limits_are_kept_on_the_grid(judged_problem, kind, name, limits):
    problem = judged_problem(kind, effort=30)
    choice = THINNING[name](problem)(limits)
    assert within(choice, limits)
    assert legal(choice, problem.space)
    assert choice.ratios.tolist() == problem.costs.ratios(choice.widths[None])[0].tolist()


@pytest.mark.parametrize("kind", ["residual", "bottleneck"])
def test_depth_keeps_its_limit_by_whole_branches(judged_problem, kind):
    problem = judged_problem(kind)
    choice = Depth(problem)(Limits(latency=0.95))
    assert within(choice, Limits(latency=0.95))
    assert all(w in (0, g.width) for w, g in zip(choice.widths, problem.space.groups, strict=True))


def test_depth_drops_the_least_harmful_branch_first_and_asks_for_each_once(judged_problem):
    problem = judged_problem("residual")
    judge = problem.evaluator
    droppable = {g.block: g.name for g in problem.space.groups if g.droppable}
    full = {g.name: tuple(range(g.width)) for g in problem.space.groups}
    harm = {
        block: judge.loss(Depth(problem)(Limits()).plan("").model_copy(update={"kept": kept}))
        for block, name in droppable.items()
        for kept in [{**full, name: ()}]
    }
    judge.asked.clear()
    search = Depth(problem)
    mild, hard = search(Limits(latency=0.99)), search(Limits(latency=0.9))
    gone = [{b for b, name in droppable.items() if not c.kept[name]} for c in (mild, hard)]
    order = sorted(harm, key=lambda block: harm[block])
    assert gone[0] == {order[0]}
    assert gone[1] == set(order[: len(gone[1])])
    assert len(judge.asked) == len(droppable)


def test_depth_without_branches_leaves_the_network_whole(judged_problem):
    problem = judged_problem("plain")
    choice = Depth(problem)(Limits(latency=0.5))
    assert choice.widths.tolist() == problem.space.full.tolist()
    assert not within(choice, Limits(latency=0.5))


@pytest.mark.parametrize("name", ["l1", "taylor"])
def test_ranked_keeps_the_most_salient_channels_of_its_criterion(judged_problem, name):
    problem = judged_problem("plain")
    choice = Ranked(problem, name)(Limits(latency=0.6))
    for group, saliency in zip(problem.space.groups, problem.criterion(name), strict=True):
        kept = list(choice.kept[group.name])
        gone = sorted(set(range(group.width)) - set(kept))
        assert not gone or saliency[kept].min() >= saliency[gone].max()


def test_only_criteria_in_units_of_the_loss_are_compared_as_they_are(judged_problem):
    scales = 10.0 ** np.arange(6)
    found = {}
    for name in ("taylor", "l1"):
        plain, scaled = judged_problem("residual"), judged_problem("residual")
        saliencies = scaled.criterion(name)
        times = tuple(s * float(k) for s, k in zip(saliencies, scales, strict=True))
        vars(scaled)["criterion"] = {name: times}.__getitem__
        limits = Limits(latency=0.6)
        found[name] = (Ranked(plain, name)(limits).kept, Ranked(scaled, name)(limits).kept)
    assert found["l1"][0] == found["l1"][1]
    assert found["taylor"][0] != found["taylor"][1]


def test_rules_score_nothing(judged_problem):
    problem = judged_problem("residual")
    for search in (Uniform(problem), Ranked(problem, "l1")):
        search(Limits(latency=0.6))
    assert not problem.evaluator.asked
    assert not problem.evaluator.distilled_plans


def networks(judge):
    return len({tuple(plan.kept.items()) for plan in judge.asked})


@pytest.mark.parametrize("effort", [100, 400])
def test_random_scores_as_many_networks_as_the_effort_allows(judged_problem, effort):
    """Then a tenth of the effort for an aim that was tightened, a quarter for another budget."""
    problem = judged_problem("residual", effort=effort)
    search, counts = Random(problem), [0]
    for limit in (0.7, 0.69, 0.5):
        search(Limits(latency=limit))
        counts.append(networks(problem.evaluator))
    allowed = np.array([effort, effort // 10, effort // 4])
    scored = np.diff(counts)
    assert scored[0] == effort
    assert (scored <= allowed).all()
    assert (scored >= allowed - 2).all()  # a walk may end where an earlier one did
    assert len(problem.evaluator.asked) == counts[-1]


def test_joint_scores_about_as_many_networks_as_random(judged_problem):
    problem, control = judged_problem("residual"), judged_problem("residual")
    Joint(problem)(Limits(latency=0.6))
    Random(control)(Limits(latency=0.6))
    assert networks(problem.evaluator) == pytest.approx(networks(control.evaluator), rel=0.15)


def test_random_distils_its_best_and_takes_the_best_distilled(judged_problem):
    problem = judged_problem("residual", effort=60)
    limits = Limits(latency=0.6)
    choice = Random(problem)(limits)
    judge = problem.evaluator
    shortest, longest = problem.effort.rungs[0][0], problem.effort.rungs[-1][0]
    finalists = [plan for plan, steps in judge.distilled_plans if steps == shortest]
    best = sorted(judge.asked, key=judge.loss)[: problem.effort.finalists]
    assert [plan.kept for plan in finalists] == [plan.kept for plan in best]
    last = [plan for plan, steps in judge.distilled_plans if steps == longest]
    assert choice.scores["F2 loss"] == min(judge.distilled(plan, longest).loss for plan in last)


def test_the_seed_decides_random_search(judged_problem):
    first, again, other = (
        Random(judged_problem("residual", effort=40, seed=seed))(Limits(latency=0.6))
        for seed in (0, 0, 1)
    )
    assert first.kept == again.kept
    assert first.kept != other.kept


def test_random_remembers_its_front(judged_problem):
    problem = judged_problem("residual", effort=60)
    search = Random(problem)
    search(Limits(latency=0.7))
    search(Limits(latency=0.5))
    front = [c for c in search.front() if "refit loss" not in c.scores]
    points = np.array([(c.ratios[0], c.scores["loss"]) for c in front])
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()
    least = min(c.scores["loss"] for c in search.front())
    assert least == min(map(problem.evaluator.loss, problem.evaluator.asked))
