"""The devices that run a job: ``local://``, a fresh process here, and ``ssh://user@host``.

Both run the same file (``runner.py``) and give the same lines, so a verdict never depends on how
the device was reached. Everything that times a model goes through here::

    epochs = (Epoch(open=(0, 1), sequence=(1, 0)),) * 4
    job = Job(models=(dense_path, slim_path), runtime=runtime, epochs=epochs)
    with closing(connect("local://").run(job)) as lines:
        for line in lines:                     # leaving the block stops the device
            if line["kind"] == "epoch": ...
"""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Protocol, cast

from edgeprune.deploy.devices.answers import MOST_BYTES
from edgeprune.deploy.devices.job import File, Job, Line, parsed, silent
from edgeprune.errors import InputError, MachineError

HERE = "this machine"
RUNNER = Path(__file__).with_name("runner.py")


class Device(Protocol):
    """A machine that runs jobs."""

    uri: str

    def run(self, job: Job) -> Generator[Line]:
        """Run a job in a fresh process and yield its lines as they come.

        Lines, by their ``kind``:

        * ``machine``: always first; ``machine`` holds what the device is (fingerprint.py).
        * ``graph``: ``model``, ``onnx``: the optimised graph in base64, without weights.
        * ``memory``: ``model``, ``load_ns``, ``peak_bytes``.
        * ``profile``: ``model``, ``nodes``: ``name``, ``op``, ``provider`` and ``ns`` a run of
          each node of the optimised graph, in the order in which they ran.
        * ``epoch``: ``epoch`` its number, ``samples`` (rounds, positions in sequence, burst) in
          nanoseconds of the job's clock, ``opened_ns`` and ``finite`` (its first answer holds
          neither NaN nor infinity) per session, and the growth of
          ``cpu_ns``, ``wall_ns``, ``ticks``, ``steal_ticks``, ``throttled_us`` over the epoch.

        Closing the generator stops the device; nothing stays behind there.

        Raises:
            MachineError: the job cannot be run or was cut off; one line that says why.
        """
        ...


def connect(uri: str = "local://") -> Device:
    """The device at ``local://`` or ``ssh://user@host[:port]``; nothing is started yet.

    Raises:
        InputError: not a device address.
    """
    if uri in ("local://", "local"):
        return Local()
    if uri.startswith("ssh://"):
        from edgeprune.deploy.devices.ssh import Remote

        return Remote(uri)
    raise InputError(f"device {uri!r} is neither local:// nor ssh://user@host[:port]")


class Local:
    """This machine, measured in a fresh process so that it gives the record a device would."""

    uri = "local://"

    def __init__(self, python: str = sys.executable) -> None:
        """Use the interpreter at ``python``, which must have numpy and onnxruntime."""
        self.python = python

    def run(self, job: Job) -> Generator[Line]:
        """See ``Device.run``."""
        with ExitStack() as stack:
            try:
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeprune-"))
                )
                paths = [str(_as_file(m, folder / f"{i}.onnx")) for i, m in enumerate(job.files)]
                errors = stack.enter_context((folder / "stderr").open("w+b"))
                lines = stack.enter_context(_Process(self.python, errors))
            except OSError as error:
                raise MachineError(f"{HERE} cannot start measuring: {error}") from None
            answer = lines.answer(job.to_json(paths), job.timeout)
            yield from parsed(answer, HERE, partial(_content, errors))


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _as_file(model: File, path: Path) -> Path:
    if isinstance(model, bytes):
        path.write_bytes(model)
        return path
    return model.resolve()


class _Process:
    """The runner in a process of its own; leaving the block ends it."""

    def __init__(self, python: str, stderr: IO[bytes]) -> None:
        pipe = subprocess.PIPE
        command = [python, "-P", str(RUNNER)]  # our module names must not hide the library's
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr)
        self.stdin = cast(IO[bytes], self.process.stdin)
        self.stdout = cast(IO[bytes], self.process.stdout)
        self.lines: Queue[bytes] = Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def answer(self, job: str, timeout: float) -> Iterator[bytes]:
        with suppress(BrokenPipeError):  # it died at once: stderr says why
            self.stdin.write(job.encode() + b"\n")
            self.stdin.flush()
        try:
            while line := self.lines.get(timeout=timeout):
                yield line
        except Empty:
            raise silent(HERE, timeout) from None

    def _read(self) -> None:
        while line := self.stdout.readline(MOST_BYTES + 1):
            self.lines.put(line)
        self.lines.put(b"")

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.stdin.close()  # the runner leaves when its stdin closes
        try:
            self.process.wait(5)  # seconds; a run of a large model cannot be interrupted
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.stdout.close()
