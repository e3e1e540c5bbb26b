"""Was this process told to stop? Inside a library Ctrl-C may surface as any error at all."""

import signal
from types import FrameType

_seen: int | None = None
_advice = ""


def watch() -> None:
    """Remember Ctrl-C and SIGTERM from now on; both raise KeyboardInterrupt."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _remember)


def happened() -> bool:
    """Whether one of them came since :func:`watch`."""
    return _seen is not None


def advise(how: str) -> None:
    """Say how to go on, for whoever reads why the command ended."""
    global _advice
    _advice = f"; {how}"


def ending() -> tuple[str, int]:
    """The line to end with, and the exit code: 130 after Ctrl-C, 143 after SIGTERM."""
    word = "terminated" if _seen == signal.SIGTERM else "interrupted"
    return word + _advice, 128 + (_seen or signal.SIGINT)


def _remember(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = number
    raise KeyboardInterrupt
