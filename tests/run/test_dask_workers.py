"""Scores from other processes: those of this one, whoever dies on the way."""

import json
import os
import pickletools
import re
import signal
from dataclasses import replace

import pytest
from distributed import LocalCluster
from distributed.comm import CommClosedError
from distributed.protocol import pickle as dask_pickle

from edgeprune.deploy.devices import dask_client
from edgeprune.errors import MachineError
from edgeprune.prune.models import placement
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.evaluation.scores import Task
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.space.budget import Limits
from edgeprune.run.dask_workers import Serving, Workers, joined
from edgeprune.run.elsewhere import Elsewhere
from edgeprune.run.pipeline import run_search
from edgeprune.run.portable import portable, scoring
from edgeprune.run.request import Request
from edgeprune.target import RelativeBudget, load_target
from tests.problems import tiny_problem

SPEC = ModelSpec("tests.problems:tiny_network")
LIMITS = Limits(latency=0.6)


@pytest.fixture(autouse=True)
def one_thread():
    """As on the workers: sums over more threads are rounded otherwise."""
    with placement.one_thread():
        yield


@pytest.fixture(scope="module")
def two():
    with joined(2, "", lambda *told: None) as workers:
        yield workers


def on(workers):
    """What makes a problem be scored by workers."""
    return lambda problem: elsewhere(workers, problem).answers(problem)


def elsewhere(workers, problem):
    return Elsewhere(workers, problem.images, sent(problem))


def sent(problem):
    return portable(problem.trace, problem.images, SPEC, "noise")


def found(problem, strategy="joint", *limits):
    search = registry.searcher(strategy, problem)
    choices = [search(limit) for limit in limits or [LIMITS]]
    told = [(s.kind, s.kept, s.steps, s.score, s.rule) for s in problem.evaluator.scored]
    front = [(c.kept, dict(c.scores)) for c in search.front()]
    return [(c.kept, dict(c.scores)) for c in choices], front, told, problem.evaluator.evaluated


@pytest.mark.parametrize("strategy", ["joint", "random"])
def test_a_search_on_workers_is_the_search_of_one_process(two, tmp_path, strategy):
    before = two.counts.copy()
    limits = LIMITS, Limits(latency=0.5)
    problem = tiny_problem("resnet", elsewhere=on(two), folder=tmp_path)
    alone = found(tiny_problem("resnet"), strategy, *limits)
    assert found(problem, strategy, *limits) == alone
    computed = two.counts - before
    assert len(computed) == 2
    # The memo has stayed here: each score once, and none the second time.
    assert computed.total() == len((tmp_path / "evaluations.jsonl").read_text().splitlines())
    (tmp_path / "asked.json").unlink()
    again = tiny_problem("resnet", elsewhere=on(two), folder=tmp_path)
    assert found(again, strategy, *limits) == alone
    assert two.counts - before == computed


def test_workers_that_die_are_replaced_and_nothing_is_lost_or_counted_twice(two):
    serve = on(two)

    class Disturbed:
        """Kills a worker after every fifth score, three times, and cuts the connection once."""

        def __init__(self, problem):
            self.serving, self.taken, self.killed = serve(problem), 0, 0
            self.at_once = self.serving.at_once

        def __call__(self, tasks):
            for score in self.serving(tasks):
                yield score
                self.taken += 1
                if self.taken % 5 == 0 and self.killed < 3:
                    self.killed += 1
                    pids = two.client.run(os.getpid)
                    os.kill(next(iter(pids.values())), signal.SIGKILL)
                if self.taken == 12:
                    two.client.loop.add_callback(two.client.scheduler_comm.comm.abort)

    disturbed = []

    def make(problem):
        disturbed.append(Disturbed(problem))
        return disturbed[0]

    assert found(tiny_problem("resnet", elsewhere=make)) == found(tiny_problem("resnet"))
    assert disturbed[0].killed == 3


def test_without_its_scheduler_a_run_ends_in_one_line_and_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER", 1.0)
    request = Request(
        target=load_target("mobile-cpu"),
        model=ModelSpec("resnet20"),
        budget=RelativeBudget(latency=0.7),
        scheduler="tcp://127.0.0.1:9",
        out=tmp_path / "run",
    )
    with pytest.raises(MachineError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        run_search(request)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "failed"
    with pytest.raises(MachineError, match=r"answers at tcp://127\.0\.0\.1:8 "):
        run_search(replace(request, scheduler="tcp://127.0.0.1:8", resume=True))


def test_what_a_worker_lacks_is_told_with_its_address(two):
    problem = tiny_problem("resnet", fold=False)
    absent = replace(sent(problem), images=None, source="/no/such/folder")
    answers = two.serve(scoring(problem), two.serve(absent))
    with pytest.raises(MachineError, match=r"worker tcp://\S+: no /no/such/folder there"):
        list(answers([task(problem)]))


def test_a_worker_without_memory_is_told(two):
    problem = tiny_problem("resnet", fold=False)
    with pytest.raises(MachineError, match="ran out of memory; start fewer"):
        list(two.serve(Hungry())([task(problem)]))


def test_a_score_that_kills_its_workers_is_given_up(two, monkeypatch):
    monkeypatch.setattr(two.client.cluster.scheduler, "allowed_failures", 0)
    problem = tiny_problem("resnet", fold=False)
    with pytest.raises(MachineError, match=r"workers died of the same score \(tcp://"):
        list(two.serve(Deadly())([task(problem)]))


def test_a_scheduler_of_others_is_joined_and_keeps_its_workers(two):
    problem = tiny_problem("resnet", fold=False)
    told, asked = [], task(problem)
    with joined(0, two.client.scheduler.address, lambda *step: told.append(step[0])) as workers:
        scores = list(on(workers)(problem)([asked]))
    assert scores == [problem.evaluator.answer(asked)]
    assert told[0].startswith("Dask dashboard: http://")
    assert re.fullmatch(r"scores by worker: tcp://\S+ 1", told[-1])
    two.client.wait_for_workers(2, timeout=60)  # one may still be on its way back
    assert len(two.client.nthreads()) == 2


def test_a_scheduler_without_workers_is_named(monkeypatch):
    monkeypatch.setattr(dask_client, "PATIENCE", 0.2)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(MachineError, match="has no workers; start some with 'dask worker tcp"),
        joined(0, cluster.scheduler_address, lambda *told: None),
    ):
        pass


class Deadly:
    """In the place of an evaluator: its worker dies."""

    def made(self, under):
        return self

    def answer(self, task):
        os._exit(1)


class Hungry(Deadly):
    """In the place of an evaluator: there is no memory for it."""

    def answer(self, task):
        raise MemoryError


def task(problem):
    kept = tuple((group.name, (0,)) for group in problem.space.groups)
    return Task("F1", kept)


def test_no_code_travels_but_names_of_the_packages_own(two, monkeypatch):
    """Of all that client and workers pickle, those of the network of the user's included."""
    sent_bytes = []
    real = dask_pickle.dumps

    def noted(*given, **options):
        sent_bytes.append(real(*given, **options))
        return sent_bytes[-1]

    monkeypatch.setattr(dask_pickle, "dumps", noted)
    problem = tiny_problem("resnet")
    given = elsewhere(two, problem)
    curvature = given.curvature(problem.trace, problem.wavelet)
    answers = given.answers(replace(problem, statistics=lambda: curvature))
    list(answers([task(problem)]))
    kept = [answers.plugin._content, answers.under.plugin._content]
    names = {name for content in (*sent_bytes, *kept) for name in imported(content)}
    packages = {re.split("[. ]", name)[0] for name in names}
    ours = {name for name in names if name.startswith("edgeprune.")}
    assert "edgeprune.run.dask_kept answer" in ours
    assert "edgeprune.run.portable Portable" in ours
    assert packages <= {"edgeprune", "numpy", "distributed", "dask", "builtins", "collections"}


def imported(content):
    """Names that a pickle imports, those of pickles inside it too."""
    found, strings, memo, last = [], [], [], None
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "STACK_GLOBAL":
            found.append(" ".join(strings[-2:]))
        elif opcode.name == "MEMOIZE":
            memo.append(last)
        elif isinstance(argument, bytes) and argument[:1] == b"\x80" and argument[-1:] == b".":
            found += imported(argument)
        last = memo[argument] if opcode.name in ("BINGET", "LONG_BINGET") else argument
        if isinstance(last, str):
            strings.append(last)
    return found


def test_what_workers_were_given_is_taken_back(two):
    before = set(two.client.cluster.scheduler.worker_plugins)
    problem = tiny_problem("resnet", fold=False)
    with joined(0, two.client.scheduler.address, lambda *told: None) as workers:
        list(on(workers)(problem)([task(problem)]))
        assert len(set(two.client.cluster.scheduler.worker_plugins) - before) == 2
    assert set(two.client.cluster.scheduler.worker_plugins) == before


class Dying:
    """A client whose first workers die before they have taken a problem."""

    status = "running"

    def __init__(self, deaths):
        self.deaths, self.asked = deaths, 0

    def register_plugin(self, plugin, name):
        self.asked += 1
        if self.asked <= self.deaths:
            raise CommClosedError("in register_worker_plugin: Stream is closed")

    def wait_for_workers(self, count, timeout):
        pass


def test_a_worker_that_dies_while_it_is_given_the_problem_is_passed_over(monkeypatch):
    serving = Serving(Workers(Dying(2)), "name", None)
    assert serving.registered() is serving
    assert serving.workers.client.asked == 3
    monkeypatch.setattr(dask_client, "PATIENCE", -1.0)
    with pytest.raises(MachineError, match=r"do not take the problem .*Stream is closed"):
        Serving(Workers(Dying(9)), "name", None).registered()
