"""Work of a worker on a GPU, where there is one: the same bench, its images on the device."""

import pytest
import torch

from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.evaluation.evaluator import Evaluator
from edgeprune.prune.search.evaluation.scores import Task
from edgeprune.run.portable import portable, scoring
from tests.problems import tiny_problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SPEC = ModelSpec("tests.problems:tiny_network")


def evaluator() -> Evaluator:
    problem = tiny_problem("resnet")
    bench = portable(problem.trace, problem.images, SPEC, "noise").made()
    return scoring(problem).made(bench)


def whole(kind: str, steps: int = 0) -> Task:
    problem = tiny_problem("resnet")
    kept = {group.name: tuple(range(group.width)) for group in problem.space.groups}
    return Task(kind, tuple(sorted(kept.items())), steps)  # type: ignore[arg-type]


def test_scores_are_computed_on_the_device_and_near_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.cuda.reset_peak_memory_stats()
    there = evaluator().answer(whole("F1"))
    assert torch.cuda.max_memory_allocated() > 0
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        here = evaluator().answer(whole("F1"))
    assert there.loss == pytest.approx(here.loss, rel=0.1)


def test_an_evaluation_does_not_wait_for_its_images() -> None:
    """They lie on the device: what a second score copies there is the slim network, no more."""
    found = evaluator()
    found.answer(whole("F1"))
    pixels, labels = found._judged[0]
    assert pixels.is_cuda
    assert labels.is_cuda
    assert pixels.is_contiguous(memory_format=torch.channels_last)
