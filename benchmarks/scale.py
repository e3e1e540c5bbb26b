"""Dask's overhead for each score, two workers against two processes, a search that is disturbed.

    python benchmarks/scale.py                      # sleeping evaluations, then true ones
    python benchmarks/scale.py --scores 0           # sleeping ones alone
    python benchmarks/scale.py --disturbed          # the search alone; --evaluations 300

Sleeping: every worker takes ``--sleep`` seconds for a score, so that what is above the ideal
time is what scheduling costs; the model of scaling.md, with the overhead of the first row, stands
beside each. True: F1 scores of resnet20 on the digits with one and two workers of one thread
each, and of the same networks in two processes that share them out beforehand; all have their
evaluators ready. Disturbed: a whole search by joint on two workers, once in peace, once while a
worker is killed three times and the connection to the scheduler is cut once; both must come to
the same scores, front and choice. Bars: 15 ms of overhead for each score, 0.85 of the rate of the
two processes, equality. The status is 1 when a bar is missed. The load is printed, since it
decides the figures; equality does not hang on it.
"""

import argparse
import datetime
import multiprocessing
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from edgeprune.prune.images import datasets
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import FEW_IMAGES
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Answers, Score, Task
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.space import widths
from edgeprune.prune.space.budget import Costs, Limits
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.tracing.trace import Trace, trace
from edgeprune.prune.training.dense import obtain
from edgeprune.run import defaults
from edgeprune.run.dask_workers import Workers, joined
from edgeprune.run.elsewhere import Elsewhere
from edgeprune.run.portable import Portable, Scoring, portable, scoring

MOST_OVERHEAD, LEAST_RATE = 15.0, 0.85
GENERATION = 16  # networks that joint asks for together
SPEC = ModelSpec("resnet20")
KILLS, CUT = (40, 120, 200), 80  # scores after which a worker is killed, and the cable cut


@dataclass(frozen=True)
class Sleeper:
    """In the place of a worker's evaluator."""

    seconds: float

    def made(self, under: None) -> "Sleeper":
        """Itself."""
        return self

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


def rounds(tasks: int, workers: int, together: int) -> int:
    """How often the last of the workers has to compute, one generation after the other."""
    sizes = [min(together, tasks - start) for start in range(0, tasks, together)]
    return sum(-(-size // workers) for size in sizes)


def sleeping(count: int, seconds: float, tasks: list[Task], together: int) -> float:
    """Seconds for all tasks, generation by generation."""
    with joined(count, "", quiet) as workers:
        serving = workers.serve(Sleeper(seconds))
        list(serving(tasks[: 2 * count]))  # the first ones open connections

        def run() -> None:
            for start in range(0, len(tasks), together):
                part = tasks[start : start + together]
                assert [score.loss for score in serving(part)] == [task.steps for task in part]

        return taken(run)


def sleeping_table(counts: Sequence[int], seconds: float, tasks: int, together: int) -> bool:
    """Print a row for each number of workers; whether the bar is met in all of them."""
    asked = [Task("F2", (), number) for number in range(tasks)]
    print("| workers | s for all | s asleep | overhead, ms a score | scores/s | model, scores/s |")
    print("|---|---|---|---|---|---|")
    first, met = None, True
    for count in counts:
        took = sleeping(count, seconds, asked, together)
        ideal = rounds(tasks, count, together) * seconds
        overhead = (took - ideal) / tasks
        first = overhead if first is None else first
        met &= 1e3 * overhead <= MOST_OVERHEAD
        model = tasks / (ideal + tasks * first)
        row = f"{took:.2f} | {ideal:.2f} | {1e3 * overhead:.1f} | {tasks / took:.1f} | {model:.1f}"
        print(f"| {count} | {row} |", flush=True)
    return met


def networks(traced: Trace, count: int) -> list[Task]:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        kept = {g.name: int(generator.integers(g.width // 2, g.width + 1)) for g in traced.groups}
        found.append(Task("F1", tuple(sorted((n, tuple(range(w))) for n, w in kept.items()))))
    return found


def posed(evaluations: int = 0, **given: Any) -> Problem:
    """resnet20 on the digits, its latency taken as its MACs."""
    images = datasets.load("digits")
    spec = replace(SPEC, num_classes=len(images.classes))
    origin = obtain(spec, images, None, defaults.dense_recipe("digits", None, 0), quiet)
    traced = trace(rewrite_shortcuts(origin.model).eval(), torch.zeros(1, *images.input_shape))
    space, counts = widths.build(traced.groups, (8, 16)), CostModel(traced)
    return Problem(
        trace=traced,
        space=space,
        costs=Costs(space.full, (counts.macs, counts.macs, counts.params)),
        images=images,
        settings=Settings(),
        effort=replace(FEW_IMAGES, evaluations=evaluations or FEW_IMAGES.evaluations),
        **given,
    )


def sent(problem: Problem) -> Portable:
    spec = replace(SPEC, num_classes=len(problem.images.classes))
    return portable(problem.trace, problem.images, spec, "digits")


def alone(what: tuple[Portable, Scoring], tasks: list[Task], ready: Any, times: Any) -> None:
    """One of two processes without Dask."""
    torch.set_num_threads(1)
    evaluator = what[1].made(what[0].made())
    evaluator.answer(tasks[0])
    ready.wait()
    times.put(taken(lambda: [evaluator.answer(task) for task in tasks]))


def without_dask(what: tuple[Portable, Scoring], tasks: list[Task]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, times = context.Barrier(2), context.Queue()
    shares = [tasks[number::2] for number in range(2)]
    processes = [
        context.Process(target=alone, args=(what, share, ready, times)) for share in shares
    ]
    for process in processes:
        process.start()
    seconds = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return float(seconds)


def with_dask(what: tuple[Portable, Scoring], tasks: list[Task], count: int) -> float:
    with joined(count, "", quiet) as workers:
        serving = workers.serve(what[1], workers.serve(what[0]))
        list(serving(tasks[: 2 * count]))  # all make their evaluators
        return taken(lambda: list(serving(tasks)))


def true_scores(count: int, turns: int) -> bool:
    """Print rates of true scores, the ways in turn; whether the bar is met."""
    problem = posed()
    what, tasks = (sent(problem), scoring(problem)), networks(problem.trace, count)
    ways: dict[str, Callable[[], float]] = {
        "two processes": lambda: without_dask(what, tasks),
        "two workers": lambda: with_dask(what, tasks, 2),
        "one worker": lambda: with_dask(what, tasks, 1),
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(turns):
        for name, way in ways.items():
            rate = len(tasks) / way()
            best[name] = max(best[name], rate)
            print(f"{name}: {rate:.2f} F1 scores/s, {load()}", flush=True)
    ratio = best["two workers"] / best["two processes"]
    print(f"two workers at {ratio:.2f} of two processes without Dask, best of each")
    print(f"two workers at {best['two workers'] / best['one worker']:.2f} of one, best of each")
    return ratio >= LEAST_RATE


class Disturbed:
    """Passes scores on; kills a worker three times, and cuts the connection once."""

    def __init__(self, answers: Answers, workers: Workers) -> None:
        self.answers, self.workers, self.at_once = answers, workers, answers.at_once
        self.taken, self.left = 0, [*KILLS]

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Score]:
        """The scores in the order of the tasks."""
        client = self.workers.client
        for score in self.answers(tasks):
            yield score
            self.taken += 1
            if self.left and self.taken >= self.left[0]:
                pid = next(iter(client.run(os.getpid).values()))
                os.kill(pid, signal.SIGKILL)
                print(f"killed worker process {pid} after {self.taken} scores", flush=True)
                del self.left[0]
            if self.taken == CUT:
                client.loop.add_callback(client.scheduler_comm.comm.abort)
                print(f"cut the connection after {self.taken} scores", flush=True)


def searched(evaluations: int, *, disturbed: bool) -> tuple[Any, ...]:
    """Choice, front and every score of one search on two workers."""
    with joined(2, "", quiet) as workers:
        kept: list[Elsewhere] = []

        def answers(problem: Problem) -> Answers:
            found = kept[0].answers(problem)
            return Disturbed(found, workers) if disturbed else found

        problem = posed(
            evaluations,
            elsewhere=answers,
            statistics=lambda: kept[0].curvature(problem.trace, problem.wavelet),
        )
        kept.append(Elsewhere(workers, problem.images, sent(problem)))
        search = registry.searcher("joint", problem)
        choice = search(Limits(latency=0.5))
        front = [(each.kept, dict(each.scores)) for each in search.front()]
        scored = [(s.kind, s.kept, s.steps, s.score) for s in problem.evaluator.scored]
        print(f"{problem.evaluator.evaluated} evaluations, {dict(workers.counts)}", flush=True)
        return (choice.kept, dict(choice.scores)), front, scored


def undisturbed_and_disturbed(evaluations: int) -> bool:
    """Whether two searches come to the same, one of them disturbed."""
    found = []
    for disturbed in (False, True):
        began = time.perf_counter()
        found.append(searched(evaluations, disturbed=disturbed))
        name = "disturbed" if disturbed else "undisturbed"
        print(f"{name}: {time.perf_counter() - began:.0f} s, {load()}", flush=True)
    same = [one == other for one, other in zip(*found, strict=True)]
    for name, equal in zip(("choice", "front", "scores"), same, strict=True):
        print(f"{name}: {'equal' if equal else 'DIFFERENT'}")
    finalists = [each for each in found[0][2] if each[0] == "F2"]
    print(f"{len(found[0][1])} networks on the front, {len(finalists)} F2 scores of finalists")
    return all(same)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--sleep", type=float, default=0.2, metavar="SECONDS")
    parser.add_argument("--tasks", type=int, default=96)
    parser.add_argument("--together", type=int, default=GENERATION)
    parser.add_argument("--scores", type=int, default=96, help="true scores; 0 for none")
    parser.add_argument("--rounds", type=int, default=2, help="of the ways in turn")
    parser.add_argument("--disturbed", action="store_true", help="the disturbed search alone")
    parser.add_argument("--evaluations", type=int, default=300)
    given = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {load()}")
    if given.disturbed:
        return int(not undisturbed_and_disturbed(given.evaluations))
    met = sleeping_table(given.workers, given.sleep, given.tasks, given.together)
    if given.scores:
        met &= true_scores(given.scores, given.rounds)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
