"""Runs jobs on a Dask worker that is a target's device: ``dask://HOST:PORT/TARGET``.

A worker started with ``--resources target-raspberry-pi-5=1`` measures for that target; it needs
no torch. One job at a time is measured there, whoever asks. A job is an actor on the worker: it
gives its lines one by one, and ends with its client, whatever becomes of that.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from distributed import CancelledError, Client, Lock
from distributed.comm import CommClosedError

from edgeprune.deploy.devices import dask_client
from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.devices.job import File, Job, Line, Loaded, Model, Variant, content_of
from edgeprune.errors import InputError, MachineError
from edgeprune.text import error_line

_ADDRESS = re.compile(r"dask(\+tls)?://([^/]+:\d+)/([^/?]+)")
_GONE = CancelledError, CommClosedError, OSError, RuntimeError, TimeoutError


def uri_of(scheduler: str, target: str) -> str:
    """The address of the worker at ``tcp://HOST:PORT`` or ``tls://`` that is this target."""
    scheme, _, host = scheduler.partition("://")
    return f"{'dask+tls' if scheme == 'tls' else 'dask'}://{host}/{target}"


class DaskDevice:
    """A Dask worker that carries the resource of a target."""

    def __init__(self, uri: str) -> None:
        """Take the address apart; nothing is connected yet.

        Raises:
            InputError: not such an address.
        """
        found = _ADDRESS.fullmatch(uri)
        if found is None:
            raise InputError(f"device {uri!r} is not dask://HOST:PORT/TARGET, nor dask+tls://")
        self.uri = uri
        self.scheduler = f"{'tls' if found[1] else 'tcp'}://{found[2]}"
        self.resource = f"{dask_client.TARGET}{found[3]}"

    def run(self, job: Job) -> Generator[Line]:
        """See ``Device.run``.

        Raises:
            MachineError: no such scheduler or worker, one of another version, or one that died.
        """
        with dask_client.connected(self.scheduler) as client:
            address = self._worker(client)
            found = client.get_versions(packages=["edgeprune"])
            dask_client.refuse_other_versions(found, dask_client.SPEAKING, [address])
            with self._alone(client, address, job.timeout), _explained(self.uri, address):
                yield from _lines(client, address, job)

    def _worker(self, client: Client) -> str:
        """The first that carries the resource; one that is being replaced has a moment."""
        began = monotonic()
        while True:
            carried = dask_client.resources(client)
            found = sorted(where for where, names in carried.items() if self.resource in names)
            if found:
                return found[0]
            if monotonic() - began > dask_client.ANSWER:
                raise MachineError(
                    f"{self.uri}: no worker carries {self.resource}; start one on the device: "
                    f"dask worker {self.scheduler} --nthreads 1 --resources {self.resource}=1"
                )
            sleep(0.2)

    @contextmanager
    def _alone(self, client: Client, address: str, seconds: float) -> Iterator[None]:
        """Two jobs at once would each time the other."""
        lock = Lock(f"edgeprune-{address}", scheduler_rpc=client.scheduler, loop=client.loop)
        if not lock.acquire(timeout=seconds):
            raise MachineError(f"{self.uri} is busy for others since {seconds:.0f} s; try again")
        try:
            yield
        finally:
            if client.status == "running":
                lock.release()


class Measuring:
    """On the worker: a job that is measured there."""

    def __init__(self, job: Job, where: str) -> None:
        self._lines = Local(where=where).run(job)

    def line(self) -> Line | None:
        """The next line; None behind the last."""
        return next(self._lines, None)

    def close(self) -> None:
        """Stop it."""
        self._lines.close()


def _lines(client: Client, address: str, job: Job) -> Iterator[Line]:
    silence = job.timeout + dask_client.ANSWER  # the worker notices it first, and says so
    carried = replace(job, models=tuple(map(_carried, job.models)))
    with client.as_current():  # an actor looks for the client that it belongs to
        actor = client.submit(
            Measuring, carried, f"worker {address}", workers=[address], actor=True, pure=False
        ).result(timeout=silence)
    try:
        while (line := actor.line().result(timeout=silence)) is not None:
            yield line
    finally:
        with suppress(*_GONE):
            actor.close().result(timeout=silence)


def _carried(model: Model) -> Model:
    """A model with its bytes, as the worker does not see the files of this machine."""
    if isinstance(model, Variant):
        return replace(model, file=_with_bytes(model.file))
    return _with_bytes(model)


def _with_bytes(file: File) -> File:
    return Loaded(file.name, content_of(file)) if isinstance(file, Path) else file


@contextmanager
def _explained(uri: str, address: str) -> Iterator[None]:
    try:
        yield
    except _GONE as error:
        raise MachineError(
            f"{uri}: worker {address} was lost while measuring ({error_line(error)}); try again"
        ) from None
