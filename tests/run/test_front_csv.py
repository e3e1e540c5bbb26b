import csv

import numpy as np

from edgeprune.prune.space.choice import Choice
from edgeprune.run import front_csv


def choice(latency, loss=None, width=8):
    scores = {} if loss is None else {"loss": loss, "accuracy": 0.5}
    return Choice({}, np.array([width, 16]), np.array([latency, 0.6, 0.7]), scores)


class Seen:
    """A search that has seen these networks."""

    def __init__(self, *choices):
        self.choices = choices

    def front(self):
        return self.choices


def rows(folder):
    with (folder / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_column_of_a_row_is_as_it_was_scored(tmp_path):
    front_csv.add(tmp_path, Seen(), choice(0.5, 1.25), "joint")
    assert rows(tmp_path) == [
        {
            "predicted_latency_ratio": "0.5000",
            "predicted_macs_ratio": "0.6000",
            "predicted_params_ratio": "0.7000",
            "predicted_loss": "1.2500",
            "predicted_accuracy": "0.5000",
            "strategy": "joint",
            "chosen": "yes",
            "widths": "8 16",
        }
    ]


def test_later_searches_beat_earlier_rows_but_never_what_was_chosen(tmp_path):
    early = Seen(choice(0.4, 3.0, 4), choice(0.5, 2.0, 8), choice(0.8, 1.0, 12))
    front_csv.add(tmp_path, early, choice(0.5, 2.0, 8), "joint")
    front_csv.add(tmp_path, Seen(choice(0.45, 0.5, 6)), choice(0.9, 4.0, 14), "joint")
    found = [(r["predicted_latency_ratio"], r["widths"], r["chosen"]) for r in rows(tmp_path)]
    assert found == [
        ("0.4000", "4 16", ""),
        ("0.4500", "6 16", ""),
        ("0.5000", "8 16", "yes"),
        ("0.9000", "14 16", "yes"),
    ]


def test_a_strategy_that_scores_nothing_lists_what_it_chose(tmp_path):
    front_csv.add(tmp_path, object(), choice(0.7), "gwcs")
    front_csv.add(tmp_path, object(), choice(0.5, width=4), "gwcs")
    assert [(r["predicted_loss"], r["widths"]) for r in rows(tmp_path)] == [
        ("", "4 16"),
        ("", "8 16"),
    ]


def test_other_channels_of_the_same_widths_are_not_what_was_chosen(tmp_path):
    front_csv.add(tmp_path, Seen(choice(0.5, 1.0)), choice(0.5, 2.0), "joint")
    assert [(r["predicted_loss"], r["chosen"]) for r in rows(tmp_path)] == [
        ("1.0000", ""),
        ("2.0000", "yes"),
    ]
