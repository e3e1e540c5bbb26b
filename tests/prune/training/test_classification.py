"""The task of classification: what is refused, and what the budget limits."""

import pytest
import torch
from torch import nn

from edgeprune.errors import InputError
from edgeprune.prune.images.in_memory import hold
from edgeprune.prune.training.tasks import CLASSIFICATION
from tests.run.test_several_heads import stripes


def test_a_network_that_does_not_classify_is_pointed_to_the_other_task() -> None:
    images = hold((stripes(20, 0), stripes(20, 1)), flip=False)
    with pytest.raises(InputError, match=r"needs \(2, 2\); a network .* takes --task outputs"):
        CLASSIFICATION.refuse(nn.Conv2d(3, 2, 1), "net", images)


def test_its_budget_limits_percentage_points() -> None:
    assert CLASSIFICATION.lost(0.95, 0.94) == pytest.approx(1.0)
    assert CLASSIFICATION.figure.budget == "accuracy_drop"
    assert CLASSIFICATION.identity == ()


def test_both_answers_to_the_test_images_are_recorded() -> None:
    images = hold((stripes(20, 0), stripes(20, 1)), flip=False)
    torch.manual_seed(0)
    dense, slim = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)) for _ in range(2))
    found = CLASSIFICATION.compared(CLASSIFICATION.reference(dense, images), slim, images)
    answers = found.of_slim["answers"]
    assert sum(answers.values()) == 20
    assert (
        (answers["both"] + answers["dense"]) / 20
        == found.dense
        == found.of_dense["accuracy_dense"]
    )
