"""tried.csv: every score in the order in which it was asked for."""

import csv

import numpy as np

from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.space.budget import Limits
from edgeprune.run import tried_csv
from tests.problems import tiny_problem


def rows(folder):
    with (folder / "tried.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_score_of_a_search_is_written_in_order_with_its_predicted_latency(tmp_path):
    problem = tiny_problem("resnet")
    choice = Joint(problem)(Limits(latency=0.7))
    tried_csv.write(tmp_path, problem)
    found = rows(tmp_path)
    kinds = [row["score"] for row in found]
    assert kinds == sorted(kinds, key=["F1", "refit", "F2"].index)
    assert kinds.count("F1") == problem.evaluator.evaluated
    assert {row["steps"] for row in found if row["score"] == "F2"} == {"2", "5"}
    assert {row["rule"] for row in found} >= {"", "uniform", "l1"}
    last = [row for row in found if row["score"] == "F2"][-2:]
    assert " ".join(map(str, choice.widths)) in {row["widths"] for row in last}
    widths = np.array([row["widths"].split() for row in found], np.int64)
    ratios = problem.costs.ratios(widths)[:, 0]
    assert [row["predicted_latency_ratio"] for row in found] == [f"{r:.4f}" for r in ratios]
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds)


def test_a_strategy_that_scores_nothing_leaves_no_file_and_measures_nothing(tmp_path):
    problem = tiny_problem("resnet")
    tried_csv.write(tmp_path, problem)
    assert not (tmp_path / "tried.csv").exists()
    assert "curvature" not in vars(problem)
