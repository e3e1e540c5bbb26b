"""The memory of a search: each network once, the best of what keeps the limits."""

import math

import numpy as np
import pytest

from edgeprune.prune.search.evaluation.archive import Archive
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.scores import Score
from edgeprune.prune.space.budget import Limits


@pytest.fixture
def archived(judged_problem):
    def make(kind="residual", **given):
        problem = judged_problem(kind, **given)
        encoding = Encoding(problem.space, tuple(problem.criteria.values()))
        return Archive(problem=problem, encoding=encoding)

    return make


def drawn(archive, count, seed=0):
    generator = np.random.default_rng(seed)
    choices = archive.encoding.choices
    return generator.integers(0, choices, (count, len(choices)))


def test_losses_are_those_of_the_evaluator_each_asked_for_once(archived):
    archive = archived()
    genomes = drawn(archive, 30)
    losses = archive.losses(np.concatenate([genomes, genomes[::-1]]))
    judge = archive.problem.evaluator
    expected = [judge.loss(archive.encoding.plan(genome)) for genome in genomes]
    rounded = np.round(expected, 4).tolist()
    assert losses.tolist() == [*rounded, *rounded[::-1]]
    assert len(judge.asked) == len(archive.scores) == len(archive.genomes)


class Told:
    """What is remembered from another search: everything but some networks."""

    def __init__(self, archive, forgotten=()):
        self.archive, self.forgotten = archive, forgotten

    def __call__(self, plan):
        if plan.kept in self.forgotten:
            return None
        loss = self.archive.problem.evaluator.loss(plan)
        return Score(loss, 1 / (1 + loss))


def known_networks(archive, count=200):
    widths = archive.encoding.widths(drawn(archive, count))
    return tuple(dict.fromkeys(map(tuple, widths.tolist())))


def test_known_networks_are_adopted_best_first_and_those_alike_count_as_scored(archived):
    plain = archived(effort=20)
    known = known_networks(plain)
    off_grid = tuple(width - 1 for width in plain.problem.space.full)
    limits = Limits(macs=0.6)
    archive = archived(effort=20, known=(*known, off_grid))
    archive.problem.evaluator.remembered = Told(archive)
    archive.adopt(limits)
    shares = archive.macs(archive.genomes)
    assert len(archive.scores) == archive.shared == 10  # half of the effort
    assert ((shares <= 1.2 * 0.6) & (shares > 0.6 / 2)).all()
    within = [loss for loss, share in zip(losses_of(archive), shares, strict=True) if share <= 0.6]
    every = archive.encoding.genomes(np.array(known))
    fits = every[(archive.macs(every) <= 0.6) & (archive.macs(every) > 0.3)]
    best = sorted(archive.problem.evaluator.loss(archive.encoding.plan(g)) for g in fits)
    assert within == pytest.approx(best[: len(within)])  # none better was left out
    alike = int((shares > 0.6 / 1.2).sum())
    assert 0 < alike == archive.alike < 10
    archive.begin(limits)
    assert archive.allowed == archive.room == 20 - alike
    archive.adopt(limits)  # the next best, for other limits
    assert (archive.shared > 10) == (len(best) > 10)


def losses_of(archive):
    return [score.loss for score in archive.scores.values()]


def test_what_is_not_remembered_or_has_no_limit_is_not_adopted(archived):
    known = known_networks(archived())
    archive = archived(effort=20, known=known)
    archive.problem.evaluator.remembered = lambda plan: None
    archive.adopt(Limits(macs=0.6))
    archive.problem.evaluator.remembered = Told(archive)
    archive.adopt(Limits())
    assert (len(archive.scores), archive.shared) == (0, 0)


def test_two_spellings_of_a_network_are_one(archived):
    archive = archived()
    genome = archive.encoding.full.copy()
    other = genome.copy()
    other[archive.encoding.groups] = 1
    archive.losses(np.array([genome, other]))
    assert len(archive.problem.evaluator.asked) == 1


def test_progress_is_told_up_to_the_effort_and_the_total_grows_where_more_is_scored(archived):
    told = []
    archive = archived(effort=5, progress=lambda *step: told.append(step))
    archive.begin(Limits())
    archive.losses(drawn(archive, 8))
    assert [step[:3] for step in told] == [
        ("scoring networks", n, max(n, 5)) for n in range(1, len(archive.scores) + 1)
    ]


def test_progress_names_the_best_network_within_the_limits(archived):
    told, limits = [], Limits(latency=0.7)
    archive = archived(progress=lambda *step: told.append(step))
    archive.begin(limits)
    archive.losses(drawn(archive, 100))
    best = archive.ranked(limits)[:1]
    loss, ratio = archive.losses(best)[0], archive.ratios(best)[0, 0]
    assert told[-1][3] == f"best {ratio:.3f}x (predicted), loss {loss:.3f}"


def test_progress_names_no_network_as_long_as_none_keeps_the_limits(archived):
    told = []
    archive = archived(progress=lambda *step: told.append(step))
    archive.begin(Limits(latency=0.01))
    archive.losses(drawn(archive, 5))
    assert {step[3] for step in told} == {""}


def test_room_is_what_is_left_of_the_effort_and_of_the_time(archived):
    left = [math.inf]
    archive = archived(effort=20, left=lambda: left[0])
    archive.begin(Limits())
    assert archive.room == 20
    archive.losses(drawn(archive, 10))
    scored = len(archive.scores)
    assert archive.room == 20 - scored
    archive.seconds = 2.0 * scored  # two seconds each
    left[0] = 7.0
    assert archive.room == 3
    left[0] = -1.0
    assert archive.room == 0


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ([0.5], [100]),
        ([0.5, 0.7], [100, 25]),
        ([0.5, 0.49], [100, 10]),
        ([0.5, 0.49, 0.8, 0.79], [100, 10, 25, 10]),
    ],
)
def test_the_first_budget_has_the_effort_and_a_tightened_aim_a_tenth(archived, limits, allowed):
    archive = archived(effort=100)
    assert [archive.begin(Limits(latency=limit)) for limit in limits] == allowed


def test_what_was_scored_already_counts_but_a_fifth_is_always_left(archived):
    archive = archived(effort=100)
    archive.losses(drawn(archive, 30))
    assert archive.begin(Limits(latency=0.5)) == 100 - len(archive.scores)
    other = archived(effort=100)
    other.losses(drawn(other, 300))
    assert other.begin(Limits(latency=0.5)) == 20


def test_networks_that_keep_the_limits_come_best_first(archived):
    archive, limits = archived(), Limits(latency=0.7, params=0.8)
    archive.losses(drawn(archive, 200))
    ranked = archive.ranked(limits)
    ratios = archive.problem.costs.ratios(archive.encoding.widths(archive.genomes))
    within = (ratios <= limits.vector()).all(1)
    assert 0 < within.sum() < len(archive.genomes)
    assert {*map(tuple, ranked.tolist())} == {*map(tuple, archive.genomes[within].tolist())}
    losses = archive.losses(ranked)
    assert (np.diff(losses) >= 0).all()


def test_where_none_keeps_the_limits_the_closest_comes(archived):
    archive, limits = archived(), Limits(latency=0.05)
    archive.losses(drawn(archive, 50))
    ranked = archive.ranked(limits)
    ratios = archive.problem.costs.ratios(archive.encoding.widths(archive.genomes))[:, 0]
    assert ranked.tolist() == [archive.genomes[ratios.argmin()].tolist()]


def test_only_what_is_asked_among_is_ranked(archived):
    archive = archived()
    genomes = archive.encoding.canonical(drawn(archive, 40))
    archive.losses(genomes)
    among = genomes[:10]
    ranked = archive.ranked(Limits(latency=1.0), among)
    assert {*map(tuple, ranked.tolist())} == {*map(tuple, among.tolist())}


def test_the_best_refitted_are_distilled_halved_and_the_last_few_distilled_for_long(archived):
    archive = archived()
    genomes = archive.encoding.canonical(drawn(archive, 9))
    losses = archive.losses(genomes)
    choice = archive.decided(genomes)
    judge, left = archive.problem.evaluator, [archive.encoding.plan(genome) for genome in genomes]
    assert [str(plan.kept) for plan in judge.refitted_plans] == [str(plan.kept) for plan in left]
    seen = {steps: [p.kept for p, s in judge.distilled_plans if s == steps] for steps in (50, 150)}
    left = sorted(left, key=lambda plan: judge.refitted(plan).loss)[:4]
    for steps, survivors in archive.problem.effort.rungs:
        assert {*map(str, seen[steps])} == {str(plan.kept) for plan in left}
        left = sorted(left, key=lambda plan: judge.distilled(plan, steps).loss)[:survivors]
    assert [len(plans) for plans in seen.values()] == [4, 2]
    assert choice.kept == left[0].kept
    row = [archive.encoding.plan(genome).kept for genome in genomes].index(choice.kept)
    assert round(choice.scores["loss"], 4) == losses[row]
    assert choice.scores["refit loss"] == judge.refitted(left[0]).loss
    score = judge.distilled(left[0], 150)
    assert choice.scores["F2 loss"] == score.loss
    assert choice.scores["F2 accuracy"] == score.accuracy


def test_no_more_than_the_effort_says_are_refitted(archived):
    archive = archived()
    object.__setattr__(archive.problem, "effort", Effort(refitted=3, finalists=2))
    genomes = archive.encoding.canonical(drawn(archive, 9))
    archive.losses(genomes)
    archive.decided(genomes)
    judge = archive.problem.evaluator
    kept = [archive.encoding.plan(genome).kept for genome in genomes[:3]]
    assert [plan.kept for plan in judge.refitted_plans] == kept


def test_where_few_are_left_only_the_long_distillation_is_paid_for(archived):
    archive = archived()
    genomes = archive.encoding.canonical(drawn(archive, 2))
    archive.losses(genomes)
    archive.decided(genomes)
    assert [steps for _, steps in archive.problem.evaluator.distilled_plans] == [150, 150]


def test_a_single_finalist_is_not_distilled(archived):
    archive = archived()
    genome = archive.encoding.canonical(drawn(archive, 1))
    archive.losses(genome)
    assert archive.decided(genome).kept == archive.encoding.plan(genome[0]).kept
    assert not archive.problem.evaluator.distilled_plans


def test_a_finalist_whose_distillation_failed_is_not_decided_on(archived):
    archive = archived()
    genomes = archive.encoding.canonical(drawn(archive, 6))
    archive.losses(genomes)
    judge, bad = archive.problem.evaluator, archive.encoding.plan(genomes[0]).kept
    judge.spoilt = lambda plan: plan.kept == bad
    assert archive.decided(genomes).kept != bad


def test_where_nothing_is_refitted_or_distilled_f1_decides(archived):
    archive = archived()
    object.__setattr__(archive.problem, "effort", Effort(rungs=(), refitted=0))
    genomes = archive.encoding.canonical(drawn(archive, 12))
    losses = archive.losses(genomes)
    genomes = genomes[np.argsort(losses, kind="stable")]
    losses = np.sort(losses)
    choice = archive.decided(genomes)
    assert choice.kept == archive.encoding.plan(genomes[losses.argmin()]).kept
    assert round(choice.scores["loss"], 4) == losses.min()
    assert not archive.problem.evaluator.distilled_plans


def test_the_front_is_what_nothing_beats(archived):
    archive = archived()
    genomes = archive.encoding.canonical(drawn(archive, 150))
    losses = archive.losses(genomes)
    latency = archive.problem.costs.ratios(archive.encoding.widths(genomes))[:, 0]
    unbeaten = {
        (float(t), float(f))
        for t, f in zip(latency, losses, strict=True)
        if not ((latency <= t) & (losses <= f) & ((latency < t) | (losses < f))).any()
    }
    front = [(float(c.ratios[0]), round(c.scores["loss"], 4)) for c in archive.front()]
    assert set(front) == unbeaten
    assert front == sorted(front)
    assert len(front) > 3


def test_nothing_scored_is_an_empty_front(archived):
    assert archived().front() == ()


def test_nan_is_on_no_front_and_ranks_last(archived):
    archive = archived()
    genomes = archive.encoding.canonical(drawn(archive, 40))
    latency = archive.problem.costs.ratios(archive.encoding.widths(genomes))[:, 0]
    genomes = genomes[np.argsort(latency)]  # the fastest of all breaks down
    bad = [archive.encoding.plan(genome).kept for genome in genomes[::2]]
    archive.problem.evaluator.spoilt = lambda plan: plan.kept in bad
    losses = archive.losses(genomes)
    assert np.isfinite(losses).all()
    assert losses[::2].min() > 10 * losses[1::2].max()
    assert not any(choice.kept in bad for choice in archive.front())
    ranked = [archive.encoding.plan(g).kept for g in archive.ranked(Limits(latency=1.0))]
    assert not any(kept in bad for kept in ranked[: len(ranked) // 2])


def test_without_time_to_choose_the_first_is_the_choice(archived):
    archive = archived(left_to_choose=lambda: 0.0)
    genomes = archive.encoding.canonical(drawn(archive, 9))
    archive.losses(genomes)
    assert archive.decided(genomes).kept == archive.choice(genomes[0]).kept
    assert not archive.problem.evaluator.refitted_plans


def test_what_there_was_no_time_for_comes_behind_what_was_scored(archived):
    calls = []
    archive = archived(left_to_choose=lambda: calls.append(1) or (1e9 if len(calls) < 4 else -1))
    genomes = archive.encoding.canonical(drawn(archive, 9))
    archive.losses(genomes)
    choice = archive.decided(genomes)
    judge = archive.problem.evaluator
    first = [archive.encoding.plan(genome) for genome in genomes[:3]]
    assert [plan.kept for plan in judge.refitted_plans] == [plan.kept for plan in first]
    assert choice.kept == min(first, key=lambda plan: judge.refitted(plan).loss).kept
