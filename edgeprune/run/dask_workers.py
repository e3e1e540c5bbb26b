"""Scores computed by Dask workers: a cluster of local processes, or a scheduler's machines.

What workers need goes to each of them once, as a plugin that Dask also gives to those that join
later, such as one in the place of a worker that died. Then only tasks and scores travel.
"""

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from threading import Lock
from time import monotonic, sleep
from typing import Any

from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    WorkerPlugin,
    get_worker,
)
from distributed.comm import CommClosedError

from edgeprune.errors import EdgepruneError, MachineError
from edgeprune.progress import Progress
from edgeprune.prune.search.evaluation.evaluator import Evaluator
from edgeprune.prune.search.evaluation.scores import Score, Task
from edgeprune.run.portable import Portable
from edgeprune.text import digest, error_line

_ANSWER = 10.0  # seconds that a scheduler has to answer at first
_PATIENCE = 60.0  # seconds to wait for a scheduler or a worker that is gone
_LOOK = 2.0  # seconds after which a wait looks whether anybody is left to wait for
_COMPARED = "python", "edgeprune", "torch", "numpy", "distributed"


class _Scorer(WorkerPlugin):  # type: ignore[misc]
    """The evaluator of one worker, made when the first task comes."""

    def __init__(self, portable: Portable) -> None:
        self._portable = portable

    def setup(self, worker: Worker) -> None:
        self._evaluator: Evaluator | None = None
        self._one = Lock()  # torch's threads and generators are of the process

    def answer(self, task: Task) -> Score:
        with self._one:
            if self._evaluator is None:
                self._evaluator = self._portable.evaluator()
            return self._evaluator.answer(task)


def _answer(task: Task, name: str) -> tuple[Score, str]:
    """On a worker: the score, and the worker's address."""
    worker = get_worker()
    try:
        return worker.plugins[name].answer(task), worker.address
    except EdgepruneError as error:
        raise MachineError(f"worker {worker.address}: {error}") from None


@dataclass
class Workers:
    """Workers that a client is connected to.

    Attributes:
        client: Their client.
        counts: Scores by the worker that computed them.
    """

    client: Client
    counts: Counter[str] = field(default_factory=Counter)

    def serve(self, portable: Portable) -> "Serving":
        """Give the workers all that a problem's scores depend on, once."""
        name = f"edgeprune-{digest(repr((self.client.id, portable.network)))}"
        return Serving(self, name, _Scorer(portable)).registered()


@dataclass(frozen=True)
class Serving:
    """Computes scores of one problem on the workers.

    Attributes:
        workers: The workers.
        name: What they know the problem by.
        scorer: What each of them has of it.
    """

    workers: Workers
    name: str
    scorer: WorkerPlugin

    @property
    def at_once(self) -> int:
        """Two tasks for every worker, so that none waits for the client."""
        return max(1, 2 * len(self.workers.client.nthreads()))

    def registered(self) -> "Serving":
        """The same, once all workers have what it takes, also those still to come.

        Raises:
            MachineError: the scheduler is gone, or no worker takes it.
        """
        client, began = self.workers.client, monotonic()
        while True:
            try:
                client.register_plugin(self.scorer, name=self.name)
                return self
            except OSError as error:  # the scheduler is gone, or a worker died before it answered
                if monotonic() - began > _PATIENCE:
                    raise MachineError(
                        f"the workers do not take the problem ({error_line(error)}); the run can "
                        "go on with --resume"
                    ) from None
                _wait_for_scheduler(client)
                sleep(0.1)

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Score]:
        """The scores in the order of the tasks.

        Raises:
            MachineError: a task killed every worker that it was given to, or nobody is left.
        """
        done = 0
        while done < len(tasks):
            try:
                for future in self._submitted(tasks[done:]):
                    score, worker = _result(self.workers.client, future)
                    self.workers.counts[worker] += 1
                    done += 1
                    yield score
            except (
                CancelledError,
                CommClosedError,
            ):  # the scheduler is gone or was: what it knew is lost
                _wait_for_scheduler(self.workers.client)
                self.registered()

    def _submitted(self, tasks: Sequence[Task]) -> list[Future]:
        found: list[Future] = self.workers.client.map(
            _answer, tasks, name=self.name, pure=False, key="score"
        )
        return found


@contextmanager
def joined(count: int, scheduler: str, progress: Progress) -> Iterator[Workers]:
    """Workers for as long as the context lasts.

    Args:
        count: Processes to start on this machine; 0 to join a scheduler.
        scheduler: Its address, such as ``tcp://host:8786``.
        progress: Told where they can be watched and, at the end, who computed how many scores.

    Raises:
        MachineError: no scheduler, no workers, or other versions there than here.
    """
    with ExitStack() as stack:
        stack.callback(_restore, dict(os.environ))
        where = stack.enter_context(_cluster(count)) if count else scheduler
        workers = Workers(stack.enter_context(_client(where)))
        _wait_for_workers(workers.client, count or 1)
        refuse_other_versions(workers.client.get_versions(packages=["edgeprune", "torch"]))
        if find_spec("bokeh") or not count:  # of another machine its scheduler knows
            progress(f"Dask dashboard: {workers.client.dashboard_link}", 0, 0)
        yield workers
        if workers.counts:
            told = ", ".join(f"{name} {n}" for name, n in sorted(workers.counts.items()))
            progress(f"scores by worker: {told}", 0, 0)


def _restore(environment: Mapping[str, str]) -> None:
    """Dask leaves its workers' thread counts in this process, for its children to inherit."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def _cluster(count: int) -> LocalCluster:
    """Processes of one thread each; dead ones are replaced."""
    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


def _client(where: LocalCluster | str) -> Client:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # errors are told by ours
    try:
        with warnings.catch_warnings(action="ignore"):  # versions are compared below
            return Client(where, timeout=_ANSWER)
    except (OSError, ValueError) as error:
        raise MachineError(
            f"no Dask scheduler answers at {where} ({error_line(error)}); start one with "
            "'dask scheduler', or use --workers N on this machine"
        ) from None


def _wait_for_workers(client: Client, count: int) -> None:
    try:
        client.wait_for_workers(count, timeout=_PATIENCE)
    except TimeoutError:
        address = client.scheduler.address
        raise MachineError(
            f"the scheduler at {address} has no workers; start some with 'dask worker {address}'"
        ) from None


def _wait_for_scheduler(client: Client) -> None:
    """Until the client, which tries by itself, is connected again."""
    began = monotonic()
    while client.status != "running":
        if client.status == "closed" or monotonic() - began > _PATIENCE:
            raise MachineError("the Dask scheduler is gone; the run can go on with --resume")
        sleep(0.1)
    _wait_for_workers(client, 1)


def refuse_other_versions(found: Mapping[str, Any]) -> None:
    """What computes with other code computes other scores.

    Args:
        found: As of :meth:`Client.get_versions`.

    Raises:
        MachineError: the first difference, with whose it is.
    """
    here = found["client"]["packages"]
    others = {"the scheduler": found["scheduler"], **found["workers"]}
    for where, there in others.items():
        # A scheduler computes nothing: it only has to speak the same language.
        names = ("python", "distributed") if where == "the scheduler" else _COMPARED
        for name in names:
            ours, theirs = (_version(name, known) for known in (here, there["packages"]))
            if ours != theirs:
                raise MachineError(
                    f"{where} has {name} {theirs or 'not at all'}, this machine {ours}; "
                    "install the same on both"
                )


def _version(name: str, packages: Mapping[str, str | None]) -> str:
    version = packages.get(name) or ""
    return ".".join(version.split(".")[:2]) if name == "python" else version


def _result(client: Client, future: Future) -> tuple[Score, str]:
    began_alone = 0.0
    while True:
        try:
            found: tuple[Score, str] = future.result(timeout=_LOOK)
            return found
        except TimeoutError:
            if client.nthreads():
                began_alone = 0.0
                continue
            began_alone = began_alone or monotonic()
            if monotonic() - began_alone > _PATIENCE:
                raise MachineError(
                    "no Dask worker is left; start some and go on with --resume"
                ) from None
        except KilledWorker as error:
            raise MachineError(
                f"workers died of the same score ({error.last_worker.address} last), most likely "
                "for want of memory; give them more or start fewer, and go on with --resume"
            ) from None
        except MemoryError:
            raise MachineError(
                "a worker ran out of memory; start fewer, and go on with --resume"
            ) from None
