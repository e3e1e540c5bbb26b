"""The Progress protocol of long work: step, done, total, note; wrappers that rename or nest it."""

from typing import Protocol


class Progress(Protocol):
    """Called with a step's name, how much of it is done, and how much there is.

    With ``total`` 0 the name is a remark, shown as it is. ``note`` is the best so far, where a
    step has one.
    """

    def __call__(self, step: str, done: int, total: int, note: str = "", /) -> None:
        """Show it."""


def silent(step: str, done: int, total: int, note: str = "") -> None:
    """Show nothing."""


def renamed(progress: Progress, name: str) -> Progress:
    """``progress`` with every step under one name, that of what the steps are for."""
    return lambda step, done, total, *note: progress(name, done, total, *note)


def part_of(progress: Progress, name: str, number: int, parts: int) -> Progress:
    """Progress of part ``number`` (from 0) of a step that has ``parts`` equal ones."""
    return lambda step, done, total, *note: progress(
        name, number * total + done, parts * total, *note
    )


def prefixed(progress: Progress, name: str) -> Progress:
    """``progress`` with a name before that of every step; an empty one leaves it as it is."""
    if not name:
        return progress
    return lambda step, done, total, *note: progress(f"{name} {step}", done, total, *note)
