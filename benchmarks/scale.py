"""Overhead of Dask for each score, and two local workers against the same processes without Dask.

    python benchmarks/scale.py                      # sleeping evaluations, then true ones
    python benchmarks/scale.py --scores 0           # sleeping ones alone

Sleeping: every worker takes ``--sleep`` seconds for a score, so that what is above the ideal
time is what scheduling costs. True: F1 scores of resnet20 on the digits with two workers of one
thread each, and of the same networks in two processes that share them out beforehand; both have
their evaluators ready. Bars: 15 ms of overhead for each score, 0.85 of the rate of the two
processes. The status is 1 when a bar is missed. The load is printed, since it decides the figures.
"""

import argparse
import datetime
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from distributed import WorkerPlugin

from edgeprune.prune.images import datasets
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.search.evaluation.evaluator import Effort
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Score, Task
from edgeprune.prune.space import widths
from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.tracing.trace import Trace, trace
from edgeprune.run.dask_workers import Serving, joined
from edgeprune.run.portable import Portable, portable

MOST_OVERHEAD, LEAST_RATE = 15.0, 0.85
GENERATION = 16  # networks that joint asks for together
SPEC = ModelSpec("resnet20")


class Sleeper(WorkerPlugin):
    """In the place of a worker's evaluator."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def answer(self, task: Task) -> Score:
        """Any score, after a while."""
        time.sleep(self.seconds)
        return Score(float(task.steps), 0.0)


def quiet(step: str, done: int, total: int, note: str = "") -> None:
    pass


def taken(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def sleeping(count: int, seconds: float, tasks: list[Task]) -> tuple[float, float]:
    """Seconds for all tasks, generation by generation, and seconds that sleep alone takes."""
    with joined(count, "", quiet) as workers:
        serving = Serving(workers, "sleeper", Sleeper(seconds)).registered()
        list(serving(tasks[: 2 * count]))  # the first ones open connections

        def run() -> None:
            for start in range(0, len(tasks), GENERATION):
                part = tasks[start : start + GENERATION]
                assert [score.loss for score in serving(part)] == [task.steps for task in part]

        rounds = sum(
            -(-len(tasks[start : start + GENERATION]) // count)
            for start in range(0, len(tasks), GENERATION)
        )
        return taken(run), rounds * seconds


def networks(traced: Trace, count: int) -> list[Task]:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        kept = {g.name: int(generator.integers(g.width // 2, g.width + 1)) for g in traced.groups}
        found.append(Task("F1", tuple(sorted((n, tuple(range(w))) for n, w in kept.items()))))
    return found


def posed() -> Problem:
    traced = trace(rewrite_shortcuts(build(SPEC)).eval(), torch.zeros(1, 3, 32, 32))
    space, counts = widths.build(traced.groups, (8, 16)), CostModel(traced)
    return Problem(
        trace=traced,
        space=space,
        costs=Costs(space.full, (counts.macs, counts.macs, counts.params)),
        images=datasets.load("digits"),
        effort=Effort(),
    )


def alone(sent: Portable, tasks: list[Task], ready: Any, times: Any) -> None:
    """One of two processes without Dask."""
    torch.set_num_threads(1)
    evaluator = sent.evaluator()
    evaluator.answer(tasks[0])
    ready.wait()
    times.put(taken(lambda: [evaluator.answer(task) for task in tasks]))


def without_dask(sent: Portable, tasks: list[Task]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, times = context.Barrier(2), context.Queue()
    shares = [tasks[number::2] for number in range(2)]
    processes = [
        context.Process(target=alone, args=(sent, share, ready, times)) for share in shares
    ]
    for process in processes:
        process.start()
    seconds = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return seconds


def with_dask(sent: Portable, tasks: list[Task]) -> float:
    with joined(2, "", quiet) as workers:
        serving = workers.serve(sent)
        list(serving(tasks[:4]))  # both make their evaluators
        return taken(lambda: list(serving(tasks)))


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--sleep", type=float, default=0.2, metavar="SECONDS")
    parser.add_argument("--tasks", type=int, default=96)
    parser.add_argument("--scores", type=int, default=96, help="true scores; 0 for none")
    parser.add_argument("--rounds", type=int, default=2, help="of both ways in turn")
    given = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {load()}")
    missed = False
    print("| workers | s for all | s asleep | overhead, ms a score | scores/s |")
    print("|---|---|---|---|---|")
    for count in given.workers:
        tasks = [Task("F2", (), number) for number in range(given.tasks)]
        seconds, ideal = sleeping(count, given.sleep, tasks)
        overhead = 1e3 * (seconds - ideal) / len(tasks)
        missed |= overhead > MOST_OVERHEAD
        rate = len(tasks) / seconds
        print(
            f"| {count} | {seconds:.2f} | {ideal:.2f} | {overhead:.1f} | {rate:.1f} |", flush=True
        )
    if given.scores:
        problem = posed()
        sent, tasks = portable(problem, SPEC, "digits"), networks(problem.trace, given.scores)
        best = [0.0, 0.0]
        for turn in range(2 * given.rounds):
            name, way = (("two processes", without_dask), ("two workers", with_dask))[turn % 2]
            rate = len(tasks) / way(sent, tasks)
            best[turn % 2] = max(best[turn % 2], rate)
            print(f"{name}: {rate:.2f} F1 scores/s, {load()}", flush=True)
        ratio = best[1] / best[0]
        missed |= ratio < LEAST_RATE
        print(f"two workers at {ratio:.2f} of two processes without Dask, best of each")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
