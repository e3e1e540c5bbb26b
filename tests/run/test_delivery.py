"""What a delivery notes beside the verdicts."""

from types import SimpleNamespace

import pytest

from edgeprune.prune.training.tasks import CLASSIFICATION, task_of
from edgeprune.run import delivery
from edgeprune.run.time_budget import TimeBudget


def context(*, seen=False, left_whole=()):
    return SimpleNamespace(
        origin=SimpleNamespace(seen_validation=seen, recognised=""),
        images=SimpleNamespace(splits=None, has_targets=True),
        task=CLASSIFICATION,
        latency=SimpleNamespace(source="the sum of 3 blocks", error=0.0123),
        request=SimpleNamespace(strategy="joint"),
        time=TimeBudget(),
        left_whole=left_whole,
    )


def report(*verdicts):
    return SimpleNamespace(verdicts=verdicts)


KEPT = {"val_dense": 0.96, "val_before_finetune": 0.90, "val_slim": 0.95}
MISSED = SimpleNamespace(name="accuracy_drop", outcome="missed", value=2.5, limit=1.0)


@pytest.mark.parametrize(
    ("seen", "verdicts", "accuracy", "words"),
    [
        (False, (), KEPT, []),
        (True, (), KEPT, ["may have seen the validation images"]),
        (False, (MISSED,), KEPT, ["loses 2.50 points, 1 was allowed"]),
        (False, (), {**KEPT, "val_slim": 0.896}, []),  # within what a seed moves
        (
            False,
            (),
            {**KEPT, "val_slim": 0.89},
            ["validation images from 90.00 % to 89.00 %"],
        ),
    ],
)
def test_what_must_be_known_is_noted(seen, verdicts, accuracy, words):
    every = delivery._notes(context(seen=seen), report(*verdicts), accuracy)
    notes = [note for note in every if not note.startswith("the search knew latency from")]
    assert len(notes) == len(words)
    assert all(part in note for part, note in zip(words, notes, strict=True))


def test_what_was_left_whole_is_noted():
    found = delivery._notes(context(left_whole=("keep conv1: ...",)), report(), KEPT)
    assert found == ("keep conv1: ...",)


def test_the_steps_to_the_lowest_latency_are_one_note():
    steps = [
        {"latency": 0.9, "lost_points": 0.25, "kept": True},
        {"latency": 0.8, "lost_points": 1.5, "kept": False},
        {"latency": 0.85, "kept": False, "reason": "..."},
    ]
    (note,) = delivery._walked(steps, CLASSIFICATION.figure)
    assert note.endswith("0.9x 0.25, 0.8x 1.50 (too much), 0.85x not reached")
    assert note.startswith("points lost on validation images on the way: ")
    (error,) = delivery._walked(steps, task_of("outputs").figure)
    assert error.startswith("output error on validation images on the way: 0.9x 0.25")
    assert delivery._walked([], CLASSIFICATION.figure) == ()
