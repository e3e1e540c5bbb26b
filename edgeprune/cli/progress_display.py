"""Shows the progress of long work on stderr: bars in a terminal, plain lines in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column

from edgeprune.cli.verbosity import verbosity
from edgeprune.progress import Progress, silent
from edgeprune.text import duration

_ROOM = 72  # columns that a bar with its times needs; a narrower terminal gets no bar
_SOON = 1.0  # seconds before which a rate says nothing


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress on stderr, one bar or a few lines a step; nothing under ``-q``.

    A step is over when the next one begins, or when the work ends without an error: it is then
    shown as complete, however many parts it had left out.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if verbosity.quiet:
        yield silent
    elif console.is_terminal:
        with Bars(*_columns(console.width), console=console) as bars:
            display = _Bars(bars)
            yield display
            display.complete()
    else:
        lines = _Lines(console)
        yield lines
        lines.complete()


def _columns(width: int) -> list[ProgressColumn]:
    name = TextColumn("{task.description}", table_column=Column(ratio=2, no_wrap=False))
    times: list[ProgressColumn] = [TimeElapsedColumn(), TimeRemainingColumn()]
    note = TextColumn("{task.fields[note]}", table_column=Column(ratio=2, no_wrap=False))
    percent = TextColumn("{task.percentage:>3.0f} %")
    if width < _ROOM:
        return [name, percent, times[1]]
    return [name, BarColumn(bar_width=20), percent, *times, note]


class _Bars:
    """One bar a step; a step that comes again after others gets a bar of its own."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._step, self._note = "", ""
        self._task = TaskID(-1)

    def __call__(self, step: str, done: int, total: int, note: str = "") -> None:
        if not total:
            self._bars.console.print(step, soft_wrap=True)
            return
        if step != self._step:
            self.complete()
            self._step, self._note = step, ""
            self._task = self._bars.add_task(step, total=total, note=note)
        self._note = note or self._note
        self._bars.update(self._task, completed=done, total=total, note=self._note)

    def complete(self) -> None:
        """Show the step as complete."""
        for task in self._bars.tasks:
            if task.id == self._task and not task.finished:
                self._bars.update(task.id, completed=task.total)


class _Lines:
    """A log keeps a line when a step begins, a quarter of it is done, and when it ends."""

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._clock = clock
        self._step, self._quarter, self._note = "", -1, ""
        self._began, self._done = clock(), 0

    def __call__(self, step: str, done: int, total: int, note: str = "") -> None:
        if not total:
            self._console.print(step, soft_wrap=True)
            return
        if step != self._step or done < self._done:
            self.complete()
            self._step, self._quarter, self._began = step, -1, self._clock()
        self._note, self._done = note, done
        quarter = 4 * done // total
        if quarter > self._quarter:  # a step may find out that it has more to do
            self._quarter = quarter
            self._print(done / total)

    def complete(self) -> None:
        """Say that the step is at its end, if it has not been said."""
        if self._step and self._quarter < 4:
            self._quarter = 4
            self._print(1.0)
        self._step, self._note = "", ""

    def _print(self, share: float) -> None:
        elapsed = self._clock() - self._began
        parts = [f"{self._step}: {25 * self._quarter} %"]
        if elapsed >= _SOON:
            parts.append(f"{duration(elapsed)} elapsed")
        if elapsed >= _SOON and 0 < share < 1:
            parts.append(f"about {duration(elapsed * (1 - share) / share)} left")
        line = ", ".join(parts) + (f"; {self._note}" if self._note else "")
        self._console.print(line, soft_wrap=True)
