"""Connects to a Dask scheduler: its workers, their resources, what must not differ from here."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from distributed import Client, LocalCluster

from edgeprune.errors import MachineError
from edgeprune.text import error_line

ANSWER = 10.0  # seconds that a scheduler has to answer at first
PATIENCE = 60.0  # seconds to wait for a scheduler or a worker that is gone
TARGET = "target-"  # begins the name of the resource of a worker that is a target's device
# A scheduler computes nothing, and a device runs the runner alone: they speak the same language.
SPEAKING = "edgeprune", "distributed"
COMPUTING = "python", *SPEAKING, "torch", "numpy"
_SCHEDULING = "python", "distributed"


@contextmanager
def connected(where: LocalCluster | str) -> Iterator[Client]:
    """A client of a cluster, or of the scheduler at an address such as ``tcp://host:8786``.

    Certificates for ``tls://`` are those of Dask's own configuration.

    Raises:
        MachineError: no scheduler answers there.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # errors are told by ours
    try:
        with warnings.catch_warnings(action="ignore"):  # versions are compared by ours
            client = Client(where, timeout=ANSWER, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:
        if str(where).startswith("tls://"):
            hint = "its certificates are set by distributed.comm.tls of Dask's configuration"
        else:
            hint = "start one with 'dask scheduler', or use --workers N on this machine"
        raise MachineError(
            f"no Dask scheduler answers at {where} ({error_line(error)}); {hint}"
        ) from None
    with client:
        yield client


def resources(client: Client) -> dict[str, Mapping[str, float]]:
    """What each worker was started with as ``--resources``, by address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: known["resources"] for address, known in workers.items()}


def is_device(carried: Mapping[str, float]) -> bool:
    """Whether a worker with these resources measures a target, and so computes nothing else."""
    return any(name.startswith(TARGET) for name in carried)


def wait_for_workers(client: Client, count: int = 1) -> None:
    """Wait until so many workers are there.

    Raises:
        MachineError: too few come.
    """
    try:
        client.wait_for_workers(count, timeout=PATIENCE)
    except TimeoutError:
        address = client.scheduler.address
        raise MachineError(
            f"the scheduler at {address} has no workers; start some with 'dask worker {address}'"
        ) from None


def wait_for_scheduler(client: Client) -> None:
    """Until the client, which tries by itself, is connected again and there is a worker."""
    began = monotonic()
    while client.status != "running":
        if client.status == "closed" or monotonic() - began > PATIENCE:
            raise MachineError("the Dask scheduler is gone; the run can go on with --resume")
        sleep(0.1)
    wait_for_workers(client)


def refuse_other_versions(
    found: Mapping[str, Any], names: Sequence[str], workers: Sequence[str]
) -> None:
    """Refuse what would compute otherwise, or not understand this client.

    Args:
        found: As of :meth:`Client.get_versions`.
        names: Packages that have to be the same here and on the workers.
        workers: Addresses of those that are looked at.

    Raises:
        MachineError: the first difference, with whose it is.
    """
    ours = found["client"]["packages"]
    asked: list[tuple[str, Any, Sequence[str]]]
    asked = [("the scheduler", found["scheduler"], [n for n in names if n in _SCHEDULING])]
    asked += [(address, found["workers"].get(address), names) for address in workers]
    for where, there, compared in asked:
        for name in compared if there else ():  # a worker may have died since it was seen
            here, other = _version(name, ours), _version(name, there["packages"])
            if here != other:
                raise MachineError(
                    f"{where} has {name} {other or 'not at all'}, this machine {here}; "
                    "install the same on both"
                )


def _version(name: str, packages: Mapping[str, str | None]) -> str:
    version = packages.get(name) or ""
    return ".".join(version.split(".")[:2]) if name == "python" else version
