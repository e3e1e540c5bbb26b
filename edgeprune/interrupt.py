"""Remembers SIGINT and SIGTERM, which inside a library may surface as any error."""

import signal
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether a signal asked this process to stop, and how its work can go on.

    Attributes:
        number: Signal that came; None as long as none did.
        advice: How to go on, for whoever reads why the command ended.
    """

    number: int | None = None
    advice: str = ""

    def watch(self) -> None:
        """Remember Ctrl-C and SIGTERM from now on; both raise KeyboardInterrupt."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def ending(self) -> tuple[str, int]:
        """The line to end with, and the exit code: 130 after Ctrl-C, 143 after SIGTERM."""
        word = "terminated" if self.number == signal.SIGTERM else "interrupted"
        advice = f"; {self.advice}" if self.advice else ""
        return word + advice, 128 + (self.number or signal.SIGINT)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt


interrupt = Interrupt()  # signals are of the process, and so is this
