"""A command talked to over its pipes: deadlines, bounded reads, an end for its whole group.

It runs in a process group of its own. Leaving the block closes its stdin, which the runner takes
as the word to leave, and then kills whatever of the group is still there.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any, cast

from edgeprune.deploy.devices.answers import Lines
from edgeprune.deploy.devices.reply import silent
from edgeprune.errors import MachineError

GRACE = 5.0  # seconds to leave in; a run of a large model cannot be interrupted
CHUNK = 1 << 16  # bytes, what a pipe holds
MOST_SAID = 1 << 16  # bytes of stderr that are kept, the last ones


class Conversation:
    """A running command. One thread reads and writes, so a pipe that is full blocks the command.

    Args:
        command: The program and its arguments; no shell reads them.
        where: The device, for messages.
        seconds: The longest silence, and the longest that nothing of what is sent is taken.
    """

    def __init__(self, command: Sequence[str], where: str, seconds: float) -> None:
        """Start it.

        Raises:
            MachineError: it cannot be started.
        """
        self.where, self.seconds = where, seconds
        self.said, self.said_all = bytearray(), False
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
            )
        except (OSError, ValueError) as error:  # a zero byte in an argument
            raise MachineError(f"{where} cannot start measuring: {error}") from None
        self.stdin, self.stdout, self.stderr = (
            cast(IO[bytes], stream)
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr)
        )
        for stream in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(stream.fileno(), False)

    def send(self, content: bytes) -> None:
        """Send it all; a command that has left gets none of the rest, and stderr says why.

        Raises:
            MachineError: nothing of it was taken for so long.
        """
        left = memoryview(content)
        with suppress(BrokenPipeError):
            while left:
                ready = self._ready(self.stdin, self.stderr)
                if self.stderr in ready:
                    self._read_stderr()
                if self.stdin in ready:
                    left = left[os.write(self.stdin.fileno(), left[:CHUNK]) :]

    def lines(self) -> Iterator[bytes]:
        """Every line as it comes, until stdout is closed.

        Raises:
            MachineError: no whole line for so long, or one that grows without end.
        """
        lines, deadline = Lines(self.where), time.monotonic() + self.seconds
        while chunk := self._chunk(deadline):
            for line in lines.of(chunk):
                yield line
                deadline = time.monotonic() + self.seconds
        yield from lines.rest()

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        with suppress(MachineError):
            deadline = time.monotonic() + 1.0  # whoever inherited stderr may hold it for ever
            while not self.said_all:
                self._ready(self.stderr, until=deadline)
                self._read_stderr()
        return self.said.decode(errors="replace")

    def _chunk(self, deadline: float) -> bytes:
        """What comes next on stdout; empty at its end."""
        while True:
            ready = self._ready(self.stdout, self.stderr, until=deadline)
            if self.stderr in ready:
                self._read_stderr()
            if self.stdout in ready:
                return os.read(self.stdout.fileno(), CHUNK)

    def _read_stderr(self) -> None:
        said = os.read(self.stderr.fileno(), CHUNK)
        self.said_all = not said
        self.said += said
        del self.said[:-MOST_SAID]

    def _ready(self, *streams: IO[bytes], until: float | None = None) -> set[Any]:
        """Those of the streams that can be read or written now."""
        deadline = time.monotonic() + self.seconds if until is None else until
        with selectors.DefaultSelector() as selector:
            for stream in streams:
                if stream is self.stdin:
                    selector.register(stream, selectors.EVENT_WRITE)
                elif stream is self.stdout or not self.said_all:
                    selector.register(stream, selectors.EVENT_READ)
            # Against one that trickles words the time is over, ready or not.
            left = deadline - time.monotonic()
            ready = {key.fileobj for key, _ in selector.select(max(0.0, left))}
        if not ready or left <= 0:
            raise silent(self.where, self.seconds)
        return ready

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for stream in (self.stdin, self.stdout, self.stderr):
                stream.close()
            self._await_end()
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _await_end(self) -> None:
        """Give it time to leave; it is not reaped, so that its group's number stays its own."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                return
            time.sleep(0.005)
