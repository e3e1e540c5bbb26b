"""Was this process interrupted? Inside a library Ctrl-C may surface as any error at all."""

import signal
from types import FrameType

_seen = False


def watch() -> None:
    """Remember Ctrl-C from now on, and raise KeyboardInterrupt as usual."""
    signal.signal(signal.SIGINT, _remember)


def happened() -> bool:
    """Whether Ctrl-C was pressed since :func:`watch`."""
    return _seen


def _remember(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
