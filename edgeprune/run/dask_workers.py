"""Work done by Dask workers: a cluster of local processes, or a scheduler's machines.

What tasks depend on goes to each worker once, as a plugin that Dask also gives to those that join
later, such as one in the place of a worker that died. Then only tasks and answers travel. Nothing
here imports torch, as a worker that is a target's device has none.
"""

import logging
import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from time import monotonic, sleep
from typing import Any

import dask
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    WorkerPlugin,
)
from distributed.comm import CommClosedError

from edgeprune.deploy.devices import dask_client
from edgeprune.deploy.devices.dask_device import uri_of
from edgeprune.errors import MachineError
from edgeprune.progress import Progress
from edgeprune.prune.search.evaluation.scores import Score
from edgeprune.run.dask_kept import Kept, answer
from edgeprune.text import digest, error_line

_LOOK = 2.0  # seconds after which a wait looks whether anybody is left to wait for
_ONE_THREAD = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"
_GPU = {"GPU": 1}  # the resource by which Dask's own documents tell workers with a GPU


class _MovedError(Exception):
    """The workers that tasks were meant for are gone, and there are others."""


@dataclass
class Workers:
    """Workers that a client is connected to.

    Attributes:
        client: Their client.
        counts: Scores by the worker that computed them.
        names: What they were given.
    """

    client: Client
    counts: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)

    def serve(self, what: object, under: "Serving | None" = None) -> "Serving":
        """Give the workers all that some tasks depend on, once.

        Args:
            what: A record of the package; its ``made`` gives what answers tasks.
            under: What ``made`` is given; workers make each only once.
        """
        content, above = pickle.dumps(what), under.name if under else ""
        name = f"edgeprune-{self.client.id}-{digest(content + above.encode())}"
        return Serving(self, name, Kept(content, above), under).registered()

    def device_of(self, target: str) -> str:
        """Address of a worker that is a target's device; empty where there is none."""
        name = f"{dask_client.TARGET}{target}"
        there = any(name in carried for carried in dask_client.resources(self.client).values())
        return uri_of(self.client.scheduler.address, target) if there else ""

    def computing(self, place: Mapping[str, Any] | None = None) -> list[str]:
        """Addresses of those that compute: no devices, and where some have a GPU, those alone.

        With a ``place`` only those that tasks placed there can go to.
        """
        carried = dask_client.resources(self.client)
        with_gpu = [where for where, own in carried.items() if "GPU" in own]
        if with_gpu or (place and "resources" in place):
            return with_gpu
        return [where for where, own in carried.items() if not dask_client.is_device(own)]

    def place(self) -> dict[str, Any]:
        """Where tasks may run, as Dask is told.

        Raises:
            MachineError: every worker is a device.
        """
        began = monotonic()
        while not (found := self.computing()):
            if monotonic() - began > dask_client.PATIENCE:
                raise MachineError(
                    "no Dask worker is left that computes; start some with 'dask worker "
                    f"{self.client.scheduler.address}' and go on with --resume"
                )
            sleep(0.1)
        carried = dask_client.resources(self.client)
        if any("GPU" in own for own in carried.values()):
            return {"resources": _GPU}
        return {"workers": found} if set(found) < set(carried) else {}

    def forget(self) -> None:
        """Take back what the workers were given; a scheduler may outlive many searches."""
        for name in self.names:
            with suppress(OSError, ValueError):  # the scheduler is gone, and with it the name
                self.client.unregister_worker_plugin(name)


@dataclass(frozen=True)
class Serving:
    """Has tasks of one kind done by the workers.

    Attributes:
        workers: The workers.
        name: What they know by which what the tasks depend on.
        plugin: What each of them has of it.
        under: What it stands on.
    """

    workers: Workers
    name: str
    plugin: WorkerPlugin
    under: "Serving | None" = None

    @property
    def at_once(self) -> int:
        """Two tasks for every worker that computes, so that none waits for the client."""
        return max(1, 2 * len(self.workers.computing()))

    def registered(self) -> "Serving":
        """The same, once all workers have what it takes, also those still to come.

        Raises:
            MachineError: the scheduler is gone, or no worker takes it.
        """
        client, began = self.workers.client, monotonic()
        while True:
            try:
                client.register_plugin(self.plugin, name=self.name)
                self.workers.names.add(self.name)
                return self
            except OSError as error:  # the scheduler is gone, or a worker died before it answered
                if monotonic() - began > dask_client.PATIENCE:
                    raise MachineError(
                        f"the workers do not take the problem ({error_line(error)}); the run can "
                        "go on with --resume"
                    ) from None
                dask_client.wait_for_scheduler(client)
                sleep(0.1)

    def __call__(self, tasks: Sequence[Any]) -> Iterator[Any]:
        """The answers in the order of the tasks.

        Raises:
            MachineError: a task killed every worker that it was given to, or nobody is left.
        """
        done = 0
        while done < len(tasks):
            try:
                place = self.workers.place()
                for future in self._submitted(tasks[done:], place):
                    found, worker = _result(self.workers, future, place)
                    self.workers.counts[worker] += isinstance(found, Score)
                    done += 1
                    yield found
            except _MovedError:
                continue
            except (CancelledError, CommClosedError):  # the scheduler is gone or was, and
                dask_client.wait_for_scheduler(self.workers.client)  # what it knew is lost
                self._again()

    def _again(self) -> None:
        if self.under:
            self.under._again()
        self.registered()

    def _submitted(self, tasks: Sequence[Any], place: Mapping[str, Any]) -> list[Future]:
        found: list[Future] = self.workers.client.map(
            answer, tasks, name=self.name, pure=False, key="edgeprune", **place
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
        workers = Workers(stack.enter_context(dask_client.connected(where)))
        dask_client.wait_for_workers(workers.client, count or 1)
        _refuse_other_versions(workers.client)
        if find_spec("bokeh") or not count:  # of another machine its scheduler knows
            progress(f"Dask dashboard: {workers.client.dashboard_link}", 0, 0)
        stack.callback(workers.forget)
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
    # What Dask sets before it starts a worker, also one in place of another, it sets in this very
    # process, and so for the processes that time models: the worker sets it for itself.
    nanny = {"pre-spawn-environ": {}, "environ": dict.fromkeys(_ONE_THREAD, 1)}
    with dask.config.set({f"distributed.nanny.{key}": value for key, value in nanny.items()}):
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )


def _refuse_other_versions(client: Client) -> None:
    """What computes with other code computes other scores; a device only has to understand."""
    found, carried = (
        client.get_versions(packages=["edgeprune", "torch"]),
        dask_client.resources(client),
    )
    devices = [where for where, own in carried.items() if dask_client.is_device(own)]
    dask_client.refuse_other_versions(found, dask_client.SPEAKING, devices)
    computing = [where for where in carried if where not in devices]
    dask_client.refuse_other_versions(found, dask_client.COMPUTING, computing)


def _result(workers: Workers, future: Future, place: Mapping[str, Any]) -> tuple[Any, str]:
    began_alone = 0.0
    while True:
        try:
            found: tuple[Any, str] = future.result(timeout=_LOOK)
            return found
        except TimeoutError:
            there = workers.computing(place)
            if there and not set(place.get("workers", there)) & set(there):
                raise _MovedError from None
            began_alone = 0.0 if there else began_alone or monotonic()
            if began_alone and monotonic() - began_alone > dask_client.PATIENCE:
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
