"""Work given to other processes, here played by this one: what comes back is what is made here."""

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch

from edgeprune.errors import InputError
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.saliency.curvature import measure
from edgeprune.prune.saliency.ports import find_additions, find_ports
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.loop import DivergenceError, Setting, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from edgeprune.run.elsewhere import Elsewhere, dealt
from edgeprune.run.portable import portable
from tests.models import draw_plan
from tests.problems import tiny_problem

SPEC = ModelSpec("tests.problems:tiny_network")
RECIPE = Recipe(epochs=3, batch=8, ema=0.5)
CPU = torch.device("cpu")


class Served:
    """Tasks are answered here, but everything travels."""

    at_once = 6

    def __init__(self, what: Any, under: Any) -> None:
        self.made, self.tasks = pickle.loads(pickle.dumps(what)).made(under and under.made), []

    def __call__(self, tasks: Any) -> Any:
        self.tasks += tasks
        return iter([self.made.answer(pickle.loads(pickle.dumps(task))) for task in tasks])


class Crew:
    """One that is this process."""

    def __init__(self) -> None:
        self.given: list[Served] = []

    def serve(self, what: Any, under: Any = None) -> Served:
        self.given.append(Served(what, under))
        return self.given[-1]

    def device_of(self, target: str) -> str:
        return ""


@pytest.fixture
def problem() -> Any:
    return tiny_problem("resnet")


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
def elsewhere(problem: Any, crew: Crew) -> Elsewhere:
    sent = portable(problem.trace, problem.images, SPEC, "noise")
    return Elsewhere(crew, problem.images, sent)


def test_statistics_are_dealt_out_and_come_back_bit_by_bit(
    elsewhere: Elsewhere, crew: Crew, problem: Any
) -> None:
    here = measure(problem.trace, problem.images.train, problem.wavelet)
    found = elsewhere.curvature(problem.trace, problem.wavelet)
    assert list(found.statistics) == list(here.statistics)
    assert [port.node for port in found.ports] == [port.node for port in here.ports]
    assert found.left == here.left
    for name, one in here.statistics.items():
        other = found.statistics[name]
        assert torch.equal(one.fisher, other.fisher)
        assert torch.equal(one.mean, other.mean)
        assert all(map(torch.equal, one.grams, other.grams))
    assert len(crew.given[0].tasks) == 3


@pytest.mark.parametrize("count", [1, 2, 5, 99])
def test_every_port_is_dealt_once_and_shares_weigh_about_the_same(
    problem: Any, count: int
) -> None:
    ports = (*find_ports(problem.trace)[0], *find_additions(problem.trace))
    shares = dealt(ports, count)
    assert sorted(name for share in shares for name in share) == sorted(
        port.node.name for port in ports
    )
    assert len(shares) == min(count, len(ports))


def test_a_training_goes_a_pass_at_a_time_to_the_weights_of_one_process(
    elsewhere: Elsewhere, crew: Crew, problem: Any, tmp_path: Any
) -> None:
    plan, images = draw_plan(problem.trace, 1), problem.images.train
    start = slim(problem.trace, plan)
    setting = Setting(teacher=problem.trace.model, ranks=Ranks(device=CPU))
    here = train_in(start, images, RECIPE, setting)
    keep, told = Keep(tmp_path / "state.pt", {"plan": "1"}), []
    elsewhere.train(start, plan, RECIPE, keep, lambda *step: told.append(step[:3]))
    there = train_in(start, images, RECIPE, replace(setting, keep=keep))
    assert told == [("training", done, 18) for done in (0, 6, 12, 18)]
    assert there.history["loss"] == here.history["loss"]
    for name, weights in here.model.state_dict().items():
        assert torch.equal(weights, there.model.state_dict()[name])
    # What is finished is not trained again, and only the first pass carries the weights.
    elsewhere.train(start, plan, RECIPE, keep, lambda *step: None)
    assert [bool(task.weights) for task in crew.given[0].tasks] == [True, False, False]


def test_no_training_asks_nobody(
    elsewhere: Elsewhere, crew: Crew, problem: Any, tmp_path: Any
) -> None:
    plan, none = draw_plan(problem.trace, 1), Recipe(epochs=0, batch=8)
    start = slim(problem.trace, plan)
    elsewhere.train(start, plan, none, Keep(tmp_path / "state.pt"), lambda *step: None)
    assert crew.given == []


def test_a_training_goes_on_with_its_own_state_alone(
    elsewhere: Elsewhere, problem: Any, tmp_path: Any
) -> None:
    plan = draw_plan(problem.trace, 1)
    start, path = slim(problem.trace, plan), tmp_path / "state.pt"
    elsewhere.train(start, plan, RECIPE, Keep(path, {"plan": "1"}), lambda *step: None)
    with pytest.raises(InputError, match="left by another training: plan was 1, now it is 2"):
        elsewhere.train(start, plan, RECIPE, Keep(path, {"plan": "2"}), lambda *step: None)


def test_a_divergence_there_is_one_here(elsewhere: Elsewhere, problem: Any, tmp_path: Any) -> None:
    plan, steep = draw_plan(problem.trace, 1), replace(RECIPE, lr=1e30)
    start = slim(problem.trace, plan)
    with pytest.raises(DivergenceError, match="training diverged"):
        elsewhere.train(start, plan, steep, Keep(tmp_path / "state.pt"), lambda *step: None)
