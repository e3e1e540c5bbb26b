"""Session options of onnxruntime that may be worth changing, each as a change to be timed."""

from collections.abc import Iterator
from pathlib import Path

from edgeprune.deploy.devices.job import Option, Variant
from edgeprune.deploy.doctor.findings import Trial
from edgeprune.target import Runtime

LEVELS = ("all", "extended", "basic", "disable")
MOST_THREADS = 8


def on_one_clock(path: Path, runtime: Runtime) -> list[Trial]:
    """Options that leave the number of threads: they may be told by the clock of the thread."""
    found = [
        _trial(path, "without the memory arena", {"arena": False}),
        _trial(path, "without the memory pattern", {"memory_pattern": False}),
    ]
    for level in LEVELS[:3]:
        if level != runtime.optimisation:
            found.append(_trial(path, f"optimisation = {level}", {"optimisation": level}))
    return found


def by_the_wall(path: Path, runtime: Runtime, cores: int) -> list[Trial]:
    """Other numbers of threads, and threads that spin while they wait: wall time tells those.

    Args:
        path: The file.
        runtime: How it is opened.
        cores: Processors that the device lets us use.
    """
    found = []
    for threads in _numbers(cores):
        number = f"{threads} thread" + "s" * (threads > 1)
        if threads != runtime.threads:
            found.append(_trial(path, f"{number} (wall time)", {"threads": threads}))
        if threads > 1:
            spinning: dict[Option, int | bool | str] = {"threads": threads, "spinning": True}
            said = f"{number} that spin while they wait (wall time)"
            found.append(_trial(path, said, spinning))
    return found


def _numbers(cores: int) -> Iterator[int]:
    threads = 1
    while threads <= min(cores, MOST_THREADS):
        yield threads
        threads *= 2


def _trial(path: Path, change: str, options: dict[Option, int | bool | str]) -> Trial:
    return Trial(change=change, model=Variant(path, options))
