import csv

import numpy as np

from edgeprune.deploy.timing.statistics import Interval
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.run import front_csv
from edgeprune.run.front_csv import Attempt
from edgeprune.run.measured_search import Candidate


def choice(latency, loss=None, width=8, **more):
    scores = {} if loss is None else {"loss": loss, "accuracy": 0.5}
    scores |= {name.replace("_", " "): value for name, value in more.items()}
    return Choice({}, np.array([width, 16]), np.array([latency, 0.6, 0.7]), scores)


class Seen:
    """A search that has seen these networks."""

    def __init__(self, *choices):
        self.choices = choices

    def front(self):
        return self.choices


def attempt(*choices, limit=1.0, high=0.99, reached=True, strategy="joint"):
    found = [Candidate(c, Interval(0.4, 0.45, high), Limits(limit)) for c in choices]
    return Attempt(Limits(limit), tuple(found), reached, strategy)


def rows(folder):
    with (folder / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_column_of_a_row_is_as_it_was_scored(tmp_path):
    scored = choice(0.5, 1.25, refit_loss=0.75, refit_accuracy=0.625, F2_loss=0.5, F2_accuracy=0.8)
    front_csv.add(tmp_path, Seen(), attempt(scored))
    assert rows(tmp_path) == [
        {
            "predicted_latency_ratio": "0.5000",
            "predicted_macs_ratio": "0.6000",
            "predicted_params_ratio": "0.7000",
            "predicted_loss": "1.2500",
            "predicted_accuracy": "0.5000",
            "refit_loss": "0.7500",
            "refit_accuracy": "0.6250",
            "F2_loss": "0.5000",
            "F2_accuracy": "0.8000",
            "measured_latency_ratio": "0.4500",
            "strategy": "joint",
            "chosen": "yes",
            "why": "the best by the last score, measured up to 0.990x, within 1x",
            "widths": "8 16",
        }
    ]


def test_later_searches_beat_earlier_rows_but_never_what_was_chosen(tmp_path):
    early = Seen(choice(0.4, 3.0, 4), choice(0.5, 2.0, 8), choice(0.8, 1.0, 12))
    front_csv.add(tmp_path, early, attempt(choice(0.5, 2.0, 8)))
    front_csv.add(tmp_path, Seen(choice(0.45, 0.5, 6)), attempt(choice(0.9, 4.0, 14)))
    found = [(r["predicted_latency_ratio"], r["widths"], r["chosen"]) for r in rows(tmp_path)]
    assert found == [
        ("0.4000", "4 16", ""),
        ("0.4500", "6 16", ""),
        ("0.5000", "8 16", "yes"),
        ("0.9000", "14 16", "yes"),
    ]


def test_a_strategy_that_scores_nothing_lists_what_it_chose(tmp_path):
    front_csv.add(tmp_path, object(), attempt(choice(0.7), strategy="gwcs"))
    front_csv.add(tmp_path, object(), attempt(choice(0.5, width=4), strategy="gwcs"))
    assert [(r["predicted_loss"], r["widths"]) for r in rows(tmp_path)] == [
        ("", "4 16"),
        ("", "8 16"),
    ]


def test_other_channels_of_the_same_widths_are_not_what_was_chosen(tmp_path):
    front_csv.add(tmp_path, Seen(choice(0.5, 1.0)), attempt(choice(0.5, 2.0)))
    assert [(r["predicted_loss"], r["chosen"]) for r in rows(tmp_path)] == [
        ("1.0000", ""),
        ("2.0000", "yes"),
    ]


def test_each_row_says_why_it_was_taken_or_not(tmp_path):
    first = choice(0.49, 1.0, 12, refit_loss=0.6, F2_loss=0.4)
    chosen = choice(0.45, 1.6, 10, refit_loss=0.7, F2_loss=0.5)
    seen = Seen(
        choice(0.3, 3.0, 2),
        choice(0.4, 2.0, 4),
        choice(0.41, 2.1, 5, refit_loss=0.9),  # beaten, yet refitted
        choice(0.42, 1.5, 6, refit_loss=0.8, F2_loss=0.7),
        choice(0.6, 0.9, 13),
    )
    found = (
        Candidate(first, Interval(0.5, 0.51, 0.52), Limits(0.5)),
        Candidate(chosen, Interval(0.44, 0.45, 0.46), Limits(0.46)),
    )
    front_csv.add(tmp_path, seen, Attempt(Limits(0.5), found, True, "joint"))
    assert [(r["widths"].split()[0], r["chosen"], r["why"]) for r in rows(tmp_path)] == [
        ("2", "", "scored; others were refitted or distilled"),
        ("4", "", "scored; others were refitted or distilled"),
        ("5", "", "refitted; others had less loss then and were distilled"),
        ("6", "", "distilled; another had less F2 loss"),
        ("10", "yes", "the best by the last score, measured up to 0.460x, within 0.5x"),
        ("12", "", "measured up to 0.520x, over 0.5x"),
        ("13", "", "latency 0.600x, over the 0.460x aimed at"),
    ]


def test_what_missed_its_limit_was_not_chosen(tmp_path):
    front_csv.add(tmp_path, Seen(), attempt(choice(0.5, 2.0), limit=0.7, reached=False))
    (row,) = rows(tmp_path)
    assert (row["chosen"], row["why"]) == ("", "measured up to 0.990x, over 0.7x")
