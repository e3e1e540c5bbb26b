"""The Progress protocol of long work: step, done, total; and wrappers that rename or nest it."""

from typing import Protocol


class Progress(Protocol):
    """Called with a step's name, how much of it is done, and how much there is.

    With ``total`` 0 the name is a remark, shown as it is.
    """

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show it."""


def silent(step: str, done: int, total: int) -> None:
    """Show nothing."""


def renamed(progress: Progress, name: str) -> Progress:
    """``progress`` with every step under one name, that of what the steps are for."""
    return lambda step, done, total: progress(name, done, total)


def part_of(progress: Progress, name: str, number: int, parts: int) -> Progress:
    """Progress of part ``number`` (from 0) of a step that has ``parts`` equal ones."""
    return lambda step, done, total: progress(name, number * total + done, parts * total)


def prefixed(progress: Progress, name: str) -> Progress:
    """``progress`` with a name before that of every step; an empty one leaves it as it is."""
    if not name:
        return progress
    return lambda step, done, total: progress(f"{name} {step}", done, total)
