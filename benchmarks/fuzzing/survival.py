"""What it means to survive an input: a known exit code, in time, without a trace."""

import contextlib
import io
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeprune.cli.ending import INTERNAL, ending

SECONDS = 10.0  # of computing; six times that of waiting


class FailedError(Exception):
    """An input did what none may."""


class Survival:
    """Counts of one reader's inputs.

    Attributes:
        inputs: How many were read.
        taken: How many were taken as right.
        refused: How many ended in one line and a known exit code.
        slowest: Longest time of one, in seconds.
    """

    def __init__(self) -> None:
        self.inputs = self.taken = self.refused = 0
        self.slowest = 0.0
        self._before = _peak()

    def peak_mb(self) -> float:
        """How far the inputs raised the peak memory of this process, in MB."""
        return (_peak() - self._before) / 1e6

    def of(self, read: Callable[[], Any], folder: Path) -> None:
        """Read one input.

        Args:
            read: Reads it; may raise whatever a command may raise, and return or print text.
            folder: Where it lies; nothing may be there afterwards that was not before.
        """
        self.inputs += 1
        before, said, start = _files(folder), io.StringIO(), time.monotonic()
        try:
            with _alarm(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                returned = read()
            self.taken += 1
            lines = [*said.getvalue().splitlines(), *(returned if returned else ())]
        except Exception as error:
            if isinstance(error, FailedError):
                raise
            message, code = ending(error)
            if code == INTERNAL:
                raise
            self.refused += 1
            lines = [*said.getvalue().splitlines(), message]
        self.slowest = max(self.slowest, time.monotonic() - start)
        for line in lines:
            _refuse_control(line)
        if new := _files(folder) - before:
            raise FailedError(f"it left {sorted(new)} behind")


def _refuse_control(line: str) -> None:
    if not line.isprintable():
        raise FailedError(f"a control character came through: {line[:200]!r}")
    if line.startswith("::") and not line.startswith(("::error title=", "::warning title=")):
        raise FailedError(f"a workflow command was forged: {line[:200]!r}")


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Stop a reading that computes or waits too long, also where it takes that for an error."""
    rung = False

    def ring(*_: object) -> None:
        nonlocal rung
        rung = True
        raise FailedError

    clocks = {signal.SIGPROF: (signal.ITIMER_PROF, 1), signal.SIGALRM: (signal.ITIMER_REAL, 6)}
    before = {number: signal.signal(number, ring) for number in clocks}
    for clock, factor in clocks.values():
        signal.setitimer(clock, factor * SECONDS)
    try:
        yield
    finally:
        for number, (clock, _) in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(number, before[number])
        if rung:
            raise FailedError(f"it computed for more than {SECONDS:.0f} s, or waited")
