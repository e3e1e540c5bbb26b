"""A problem that has travelled scores as before, and says what it lacks where it has come to."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from edgeprune.errors import MachineError
from edgeprune.prune.models import placement
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.evaluation.scores import Task
from edgeprune.run.portable import portable, scoring
from tests.models import draw_plan
from tests.problems import tiny_problem

SPEC = ModelSpec("tests.problems:tiny_network")


@pytest.fixture(autouse=True)
def one_thread():
    with placement.one_thread():
        yield


def sent(problem):
    return portable(problem.trace, problem.images, SPEC, "noise")


@pytest.mark.parametrize("fold", [True, False])
def test_a_travelled_problem_scores_as_before(fold):
    problem = tiny_problem("resnet", fold=fold)
    bench, scorer = pickle.loads(pickle.dumps((sent(problem), scoring(problem))))
    travelled = scorer.made(bench.made())
    for seed, kind in enumerate(("F1", "refit", "F2")):
        plan = draw_plan(problem.trace, seed)
        task = Task(kind, tuple(sorted(plan.kept.items())), 2 if kind == "F2" else 0)
        assert travelled.answer(task) == problem.evaluator.answer(task)


def test_nothing_of_torch_travels():
    problem = tiny_problem("resnet")
    travels = sent(problem)
    assert b"torch" not in pickle.dumps((travels, scoring(problem)))
    assert all(isinstance(array, np.ndarray) for array in travels.weights.values())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network": "another"}, "is built otherwise here"),
        ({"arithmetic": ("tpu", True)}, "tpu with bfloat16 where the search runs"),
        ({"images": None, "source": "/no/such/folder"}, "under the same path"),
    ],
)
def test_what_is_lacking_or_otherwise_is_named(changed, said):
    with pytest.raises(MachineError, match=said):
        replace(sent(tiny_problem("resnet")), **changed).made()
