"""Killed at any moment and resumed, every search ends as if nothing had happened."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from edgeprune.prune.models.placement import one_thread
from edgeprune.prune.search.evaluation.masked import Damage
from edgeprune.prune.search.strategies.registry import searcher
from edgeprune.prune.space.budget import Limits
from tests.problems import tiny_problem

LIMITS = (Limits(latency=0.85), Limits(latency=0.7))
MEMOISED = ("joint", "gwcs", "smoea", "random")
SCORES = "evaluations.jsonl"


def searched(problem, name):
    """What a strategy answers to both limits, down to the bits of its scores."""
    search = searcher(name, problem)
    answers = [search(limits) for limits in LIMITS]
    return [
        (c.kept, c.widths.tolist(), c.ratios.tolist(), {k: v.hex() for k, v in c.scores.items()})
        for c in answers
    ]


def keys(folder):
    """Keys of the whole lines of a folder's scores, in the order in which they were written."""
    found = []
    for line in (folder / SCORES).read_text().splitlines():
        try:
            found.append(json.loads(line)["key"])
        except ValueError:
            continue
    return found


def folder_of(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", MEMOISED)
def test_with_the_file_cut_off_anywhere_the_result_is_the_same(real_problem, tmp_path, name):
    """The file is only appended to: each state a kill can leave is one of its beginnings."""
    whole = folder_of(tmp_path, "whole")
    expected = searched(real_problem("resnet", folder=whole), name)
    assert searched(real_problem("resnet"), name) == expected
    content = (whole / SCORES).read_bytes()
    for share in (0.31, 0.77):
        cut = folder_of(tmp_path, f"cut{share}")
        (cut / SCORES).write_bytes(content[: round(share * len(content))])
        known = len(keys(cut))
        assert searched(real_problem("resnet", folder=cut), name) == expected
        assert keys(cut) == keys(whole)
        assert len(set(keys(cut))) == len(keys(cut)) >= known


@pytest.mark.parametrize("name", MEMOISED)
def test_a_finished_search_computes_nothing_when_it_is_asked_again(
    real_problem, tmp_path, name, monkeypatch
):
    expected = searched(real_problem("resnet", folder=tmp_path), name)
    before = (tmp_path / SCORES).read_bytes()
    monkeypatch.setattr(Damage, "__call__", None)
    monkeypatch.setattr("edgeprune.prune.search.evaluation.evaluator.slim", None)
    assert searched(real_problem("resnet", folder=tmp_path), name) == expected
    assert (tmp_path / SCORES).read_bytes() == before


def test_gwcs_by_bits_keeps_no_scores_and_runs_again(real_problem, tmp_path):
    made = {"folder": tmp_path, "genome": "bits"}
    expected = searched(real_problem("resnet", **made), "gwcs")
    assert [path.name for path in tmp_path.iterdir()] == ["asked.json"]
    assert searched(real_problem("resnet", **made), "gwcs") == expected


class Killing:
    """Progress that ends its own process as ``kill -9`` does after so many steps."""

    def __init__(self, count):
        self.left = count

    def __call__(self, step, done, total, note=""):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def search_until_killed(folder, name, count):
    with one_thread():
        searched(tiny_problem("resnet", folder=folder, progress=Killing(count)), name)


@pytest.mark.parametrize("name", [*MEMOISED, "gwcs"])
@one_thread()  # scores to the bit, whatever the number of threads
def test_a_killed_process_is_gone_on_from(real_problem, tmp_path, name):
    """kill -9 after a third and after two thirds of all steps, then to the end."""
    steps = []
    expected = searched(real_problem("resnet", progress=lambda *step: steps.append(step)), name)
    for count in (len(steps) // 3, 2 * len(steps) // 3):
        # A process of its own: autograd works in no fork of one in which it has worked.
        process = multiprocessing.get_context("spawn").Process(
            target=search_until_killed, args=(tmp_path, name, count)
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert searched(real_problem("resnet", folder=tmp_path), name) == expected
    if name in MEMOISED:
        assert len(set(keys(tmp_path))) == len(keys(tmp_path))


def test_other_seeds_search_otherwise(real_problem):
    """Else the tests above could not tell a search from a constant."""
    found = [
        searched(real_problem("resnet", settings=settings), "smoea")
        for settings in (
            real_problem("resnet").settings,
            type(real_problem("resnet").settings)(population=6, generations=2, seed=1),
        )
    ]
    assert not np.array_equal(found[0], found[1])
