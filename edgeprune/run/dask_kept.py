"""The worker's side of Dask: what it keeps for tasks, and how it answers one.

Nothing here imports torch before the first task, as every worker gets these plugins, also one
that is a target's device and has none.
"""

import ctypes
import pickle
from contextlib import suppress
from threading import Lock
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from edgeprune.errors import EdgepruneError, MachineError, PromiseError

_ONE = Lock()  # torch's threads and generators are of the process


class Kept(WorkerPlugin):  # type: ignore[misc]
    """Something that a worker makes when it is first asked for, and keeps.

    Args:
        content: Pickle of a record of the package, whose ``made(under)`` makes it.
        under: Name of what that is given.
    """

    def __init__(self, content: bytes, under: str) -> None:
        self._content, self._under = content, under

    def setup(self, worker: Worker) -> None:
        """Know the worker; Dask calls it there."""
        self._worker, self._made = worker, None

    def made(self) -> Any:
        """What it makes."""
        if self._made is None:
            let_heap_grow()
            under = self._worker.plugins[self._under].made() if self._under else None
            self._made = pickle.loads(self._content).made(under)
        return self._made


def let_heap_grow() -> None:
    """Undo what Dask tells glibc: to give memory back to the system as soon as it is freed.

    The page faults of that double the CPU time of a score. The limits are those that glibc comes
    to by itself; elsewhere nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, bytes
        mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD, bytes


def answer(task: object, name: str) -> tuple[Any, str]:
    """On a worker: the answer to a task, and the worker's address."""
    worker = get_worker()
    try:
        with _ONE:
            return worker.plugins[name].made().answer(task), worker.address
    except PromiseError:
        raise  # of the task, wherever it is done
    except EdgepruneError as error:
        raise MachineError(f"worker {worker.address}: {error}") from None
