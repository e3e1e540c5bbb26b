"""Scores of slim networks: right, remembered, and blind to the test images."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from edgeprune.prune.models import placement
from edgeprune.prune.search.evaluation import evaluator
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.evaluator import Evaluator
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.evaluation.scores import tally
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import whole
from edgeprune.prune.tracing.trace import trace
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import train
from edgeprune.prune.training.recipe import Recipe

EFFORT = Effort(calibration=32, judged=30)
STEPS = 2


@pytest.fixture
def traced(tiny):
    model, example = tiny("resnet")
    return trace(model.float(), example.float())


@pytest.fixture
def exact(monkeypatch):
    """Without bfloat16, which not every processor has."""
    monkeypatch.setattr(placement, "has_bfloat16", lambda: False)


@pytest.fixture
def counted(monkeypatch):
    """Plans that were slimmed."""
    plans = []

    def counting(source, plan, *args, **options):
        plans.append(plan)
        return slim(source, plan, *args, **options)

    monkeypatch.setattr(evaluator, "slim", counting)
    return plans


def expected(network, dense, images, count):
    """Cross-entropy plus KL(dense || slim), and accuracy, from logits in float64."""
    chosen = evaluator.stratified(images.labels, count, 0)
    judged = images.subset(chosen)
    slim_logs = log_softmax(evaluate(network, judged).logits.double().numpy(), 1)
    dense_logs = log_softmax(evaluate(dense, judged).logits.double().numpy(), 1)
    labels = judged.labels.numpy()
    entropy = -slim_logs[np.arange(count), labels].mean()
    divergence = (np.exp(dense_logs) * (dense_logs - slim_logs)).sum(1).mean()
    return entropy + divergence, (slim_logs.argmax(1) == labels).mean()


@pytest.mark.parametrize("seed", range(3))
def test_f1_is_the_loss_and_divergence_of_the_recalibrated_network(
    traced, noise, random_plan, exact, seed
):
    plan = random_plan(traced, seed)
    found = Evaluator(traced, noise, EFFORT).score(plan)
    network = recalibrate(slim(traced, plan), noise.train, count=EFFORT.calibration)
    loss, accuracy = expected(network, traced.model, noise.val, EFFORT.judged)
    assert found.loss == pytest.approx(loss, rel=1e-4)
    assert found.accuracy == pytest.approx(accuracy)


def test_f2_distils_the_recalibrated_network_before_it_scores(traced, noise, random_plan, exact):
    plan = random_plan(traced, 1)
    effort = Effort(calibration=32, judged=20, examined=30, recipe=Recipe(lr=0.1, batch=16))
    found = Evaluator(traced, noise, effort).distilled(plan, 3)
    start = recalibrate(slim(traced, plan), noise.train)
    trained = train(
        start, noise.train, Recipe(lr=0.1, batch=16, steps=3), teacher=traced.model
    ).model
    loss, accuracy = expected(trained, traced.model, noise.val, 30)
    assert found.loss == pytest.approx(loss, rel=1e-4)
    assert found.accuracy == pytest.approx(accuracy)


def test_both_fidelities_compute_on_the_best_device(traced, noise, random_plan, monkeypatch):
    """On ``meta`` tensors have no values: all goes well until the first number is asked for."""
    seen = set()

    def note(module, inputs):
        if isinstance(module, torch.nn.Conv2d):
            seen.add(inputs[0].device.type)

    monkeypatch.setattr(evaluator, "best_device", lambda: torch.device("meta"))
    judge = Evaluator(traced, noise, EFFORT)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        for fidelity in (judge.score, lambda plan: judge.distilled(plan, STEPS)):
            with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
                fidelity(random_plan(traced, 0))
    finally:
        hook.remove()
    assert seen == {"meta"}


def test_every_length_of_distillation_is_another_score(traced, noise, random_plan, counted):
    judge, plan = Evaluator(traced, noise, EFFORT), random_plan(traced, 0)
    assert judge.distilled(plan, STEPS) != judge.distilled(plan, STEPS + 3)
    assert len(counted) == 2


def test_a_dense_network_diverges_from_itself_by_nothing_but_its_statistics(traced, noise, exact):
    for module in traced.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.zero_()
    before = {name: tensor.clone() for name, tensor in traced.model.state_dict().items()}
    dense = whole(traced.groups, "")
    found = Evaluator(traced, noise, EFFORT).score(dense)
    entropy = evaluate(recalibrate(traced.model, noise.train, count=32), noise.val).loss
    assert found.loss > 0.5 * entropy
    after = traced.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not traced.model.training


def test_nothing_is_computed_twice(traced, noise, random_plan, counted):
    judge, plans = Evaluator(traced, noise, EFFORT), [random_plan(traced, seed) for seed in (0, 1)]
    first = [judge.score(plan) for plan in plans]
    assert [judge.score(plan) for plan in plans] == first
    assert len(counted) == judge.evaluated == 2
    distilled = judge.distilled(plans[0], STEPS)
    assert judge.distilled(plans[0], STEPS) == distilled
    assert judge.distilled(plans[0], STEPS) != first[0]
    assert len(counted) == 3
    assert judge.evaluated == 2


def test_the_models_name_and_the_order_of_groups_make_no_other_network(
    traced, noise, random_plan, counted
):
    judge, plan = Evaluator(traced, noise, EFFORT), random_plan(traced, 0)
    turned = dict(reversed(list(plan.kept.items())))
    other = plan.model_copy(update={"model": "other", "kept": turned})
    assert judge.score(other) == judge.score(plan)
    assert len(counted) == 1


def test_every_network_sees_the_same_images(traced, noise, random_plan):
    """Whatever was scored before, and whatever the global generator has drawn."""
    plans = [random_plan(traced, seed) for seed in range(3)]
    forth, back = Evaluator(traced, noise, EFFORT), Evaluator(traced, noise, EFFORT)
    first = [forth.score(plan) for plan in plans]
    torch.rand(7)
    assert [back.score(plan) for plan in plans[::-1]] == first[::-1]


def test_notes_are_taken_up(traced, noise, random_plan, counted, tmp_path):
    notes, plan = tmp_path / "notes.jsonl", random_plan(traced, 0)
    first = Evaluator(traced, noise, EFFORT, Memo(notes))
    known = first.score(plan), first.distilled(plan, STEPS)
    counted.clear()
    second = Evaluator(traced, noise, EFFORT, Memo(notes))
    assert second.evaluated == 0
    assert (second.score(plan), second.distilled(plan, STEPS)) == known
    assert second.evaluated == 1
    assert not counted


def counts(judge):
    return {kind: tuple(found.values()) for kind, found in tally(judge.scored).items()}


def test_scores_of_other_searches_are_counted_as_shared(
    traced, noise, random_plan, counted, tmp_path
):
    theirs, plans = tmp_path / "theirs.jsonl", [random_plan(traced, seed) for seed in range(3)]
    first = Evaluator(traced, noise, EFFORT, Memo(theirs))
    known = [first.score(plan) for plan in plans[:2]] + [first.distilled(plans[0], STEPS)]
    assert tally(first.scored) == {
        "F1": {"scored": 2, "shared": 0},
        "F2": {"scored": 1, "shared": 0},
    }
    counted.clear()
    second = Evaluator(traced, noise, EFFORT, Memo(tmp_path / "ours.jsonl", None, (theirs,)))
    assert second.remembered(plans[0]) == known[0] and second.remembered(plans[2]) is None
    assert (second.evaluated, counts(second)) == (0, {})
    for _ in range(2):  # asked for twice, counted once
        found = [second.score(plan) for plan in plans] + [second.distilled(plans[0], STEPS)]
    assert [*found[:2], found[3]] == known
    assert len(counted) == 1
    assert tally(second.scored) == {
        "F1": {"scored": 3, "shared": 2},
        "F2": {"scored": 1, "shared": 1},
    }
    assert [each.shared for each in second.scored[:4]] == [True, True, False, True]


def test_distilled_networks_are_shared_where_they_are_deployed_alike(
    traced, noise, random_plan, tmp_path
):
    notes, plan = tmp_path / "notes.jsonl", random_plan(traced, 0)

    def judged(deployed_as):
        memo = Memo(tmp_path / "ours.jsonl", None, (notes,))
        return Evaluator(
            traced, noise, EFFORT, memo, as_deployed=lambda net: net, deployed_as=deployed_as
        )

    Evaluator(traced, noise, EFFORT, Memo(notes), deployed_as="int8 a").distilled(plan, STEPS)
    Evaluator(traced, noise, EFFORT, Memo(notes)).score(plan)
    for deployed, shared in (("int8 a", 1), ("int8 b", 0), ("", 0)):
        found = judged(deployed)
        found.score(plan), found.distilled(plan, STEPS)
        assert (
            tally(found.scored)["F1"]["shared"] == 1
        )  # F1 is of the float network for all of them
        assert tally(found.scored)["F2"]["shared"] == shared


@pytest.mark.parametrize("left", [0.3, 0.9])
def test_a_line_cut_off_by_a_crash_costs_that_line_only(
    traced, noise, random_plan, counted, tmp_path, left
):
    notes = tmp_path / "notes.jsonl"
    plans = [random_plan(traced, seed) for seed in range(3)]
    first = Evaluator(traced, noise, EFFORT, Memo(notes))
    scores = [first.score(plan) for plan in plans]
    text = notes.read_text("utf-8")
    last = text.splitlines()[-1]
    notes.write_text(text[: len(text) - 1 - round((1 - left) * len(last))], "utf-8")
    counted.clear()
    for _ in range(2):  # what is noted behind the cut is found again, too
        again = Evaluator(traced, noise, EFFORT, Memo(notes))
        assert [again.score(plan) for plan in plans] == scores
    assert len(counted) == 1
    third = random_plan(traced, 3)
    assert again.score(third) == Evaluator(traced, noise, EFFORT, Memo(notes)).score(third)
    assert len(counted) == 2


def test_the_test_images_are_never_touched(traced, noise, random_plan):
    """They raise when they are."""
    with pytest.raises(AssertionError, match="touched"):
        _ = noise.test.labels
    judge = Evaluator(traced, noise, EFFORT)
    assert judge.score(random_plan(traced, 0)).loss > 0
    assert judge.distilled(random_plan(traced, 0), STEPS).loss > 0


def test_validation_images_judge_and_training_images_do_not(traced, noise, random_plan):
    plan, half = random_plan(traced, 0), torch.arange(20)
    found = Evaluator(traced, noise, EFFORT).score(plan)
    other_val = evaluator.DataSet(**{**vars(noise), "val": noise.val.subset(half)})
    other_labels = noise.train.__class__(noise.train.pixels, (noise.train.labels + 1) % 5)
    relabelled = evaluator.DataSet(**{**vars(noise), "train": other_labels})
    whole_set = Effort(calibration=48, judged=40)
    assert Evaluator(traced, other_val, EFFORT).score(plan) != found
    assert Evaluator(traced, relabelled, whole_set).score(plan) == Evaluator(
        traced, noise, whole_set
    ).score(plan)


def test_a_network_without_batchnorm_is_scored_as_it_is(tiny, noise, exact):
    model, example = tiny("vgg")
    plain = torch.nn.Sequential(*(m for m in model.float() if not isinstance(m, torch.nn.Dropout)))
    for name, module in list(plain.named_modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            plain.set_submodule(name, torch.nn.Identity())
    traced = trace(plain.eval(), example.float())
    found = Evaluator(traced, noise, EFFORT).score(whole(traced.groups, ""))
    loss, accuracy = expected(plain, plain, noise.val, EFFORT.judged)
    assert found.loss == pytest.approx(loss, rel=1e-4)
    assert found.accuracy == pytest.approx(accuracy)


class Elsewhere:
    """Computes scores by another evaluator, and notes what it was given together."""

    at_once = 3

    def __init__(self, judge):
        self.judge, self.given = judge, []

    def __call__(self, tasks):
        self.given.append(list(tasks))
        return map(self.judge.answer, tasks)


def test_what_is_asked_together_is_computed_elsewhere_once_and_counted_in_order(
    traced, noise, random_plan, tmp_path, counted
):
    effort = Effort(calibration=32, judged=20, examined=30, recipe=Recipe(batch=16))
    plans = [random_plan(traced, seed) for seed in (0, 1, 0, 2)]
    alone = Evaluator(traced, noise, effort)
    elsewhere = Elsewhere(Evaluator(traced, noise, effort))
    memo = tmp_path / "memo.jsonl"
    Evaluator(traced, noise, effort, Memo(memo)).score(plans[1])
    judge = Evaluator(traced, noise, effort, Memo(memo), elsewhere=elsewhere)
    asked = (
        lambda of: of.score_many(plans),
        lambda of: of.refitted_many(plans[:2]),
        lambda of: of.distilled_many(plans[:2], STEPS),
    )
    for ask in asked:
        assert list(ask(judge)) == list(ask(alone))
    kinds = [[task.kind for task in tasks] for tasks in elsewhere.given]
    assert kinds == [["F1"] * 2, ["refit"] * 2, ["F2"] * 2]  # plan 1 was remembered, 0 came twice
    told = [[(s.kind, s.kept, s.steps, s.score) for s in of.scored] for of in (judge, alone)]
    assert told[0] == told[1]
    assert judge.evaluated == alone.evaluated == 3
    assert Evaluator(traced, noise, effort).at_once == 1
    assert judge.at_once == 3


def test_what_is_not_taken_is_not_counted_nor_remembered(traced, noise, random_plan, counted):
    judge = Evaluator(traced, noise, EFFORT)
    answers = judge.score_many([random_plan(traced, seed) for seed in range(3)])
    next(answers)
    answers.close()
    assert judge.evaluated == len(judge.scored) == len(counted) == 1


def test_int8_networks_are_distilled_where_their_runtime_is(traced, noise, random_plan):
    effort = Effort(calibration=32, judged=20, examined=30, recipe=Recipe(batch=16))
    elsewhere = Elsewhere(Evaluator(traced, noise, effort))
    deployed = []

    def as_deployed(network):
        deployed.append(network)
        return network

    judge = Evaluator(traced, noise, effort, as_deployed=as_deployed, elsewhere=elsewhere)
    judge.score(random_plan(traced, 0))
    judge.distilled(random_plan(traced, 0), STEPS)
    assert [[task.kind for task in tasks] for tasks in elsewhere.given] == [["F1"]]
    assert len(deployed) == 1
