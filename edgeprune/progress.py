"""The one protocol by which long work says how far it is."""

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
    """``progress`` under another name: whoever asks for a step knows best what it is for."""
    return lambda step, done, total: progress(name, done, total)


def part_of(progress: Progress, name: str, number: int, parts: int) -> Progress:
    """``progress`` of a whole in equal ``parts``, told by its part ``number`` from 0."""
    return lambda step, done, total: progress(name, number * total + done, parts * total)


def prefixed(progress: Progress, name: str) -> Progress:
    """``progress`` with a name before that of every step; none leaves it as it is."""
    return (
        (lambda step, done, total: progress(f"{name} {step}", done, total)) if name else progress
    )
