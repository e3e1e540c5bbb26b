"""The devices that run a job: a fresh process here, ``ssh://``, ``exec:COMMAND``, ``dask://``.

All run the same file (``runner.py``) and give the same lines, so a verdict never depends on how
the device was reached. Everything that times a model goes through here::

    epochs = (Epoch(open=(0, 1), sequence=(1, 0)),) * 4
    job = Job(models=(dense_path, slim_path), runtime=runtime, epochs=epochs)
    with closing(connect("local://").run(job)) as lines:
        for line in lines:                     # leaving the block stops the device
            if line["kind"] == "epoch": ...
"""

import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from edgeprune.deploy.devices.conversation import Conversation
from edgeprune.deploy.devices.job import RUNNER, File, Job, Line, content_of
from edgeprune.deploy.devices.reply import parsed
from edgeprune.errors import InputError, MachineError

HERE = "this machine"


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
        * ``outputs``: ``model``, ``shapes`` of its outputs by name (runner.py).
        * ``logits``: ``model``, ``shape``, ``data``: its first output for a batch, as float32 in
          base64.
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
    """The device at one of the addresses below; nothing is started yet.

    Args:
        uri: ``local://``, ``ssh://user@host[:port]``, ``exec:COMMAND``, ``emulate://CORE``, or
            ``dask://HOST:PORT/TARGET``, a Dask worker that carries the resource of a target.

    Raises:
        InputError: not a device address.
    """
    if uri in ("local://", "local"):
        return Local()
    if uri.startswith("ssh://"):
        from edgeprune.deploy.devices.ssh import Remote

        return Remote(uri)
    if uri.startswith("exec:"):
        from edgeprune.deploy.devices.command import Command, words_of

        return Command(words_of(uri), uri)
    if uri.startswith("emulate://"):
        from edgeprune.deploy.devices.emulated import emulated

        return emulated(uri)
    if uri.startswith(("dask://", "dask+tls://")):
        return _dask_device(uri)
    raise InputError(
        f"device {uri!r} is neither local:// nor ssh://user@host[:port], exec:COMMAND, "
        "dask://HOST:PORT/TARGET or emulate://CORE"
    )


def _dask_device(uri: str) -> Device:
    try:
        from edgeprune.deploy.devices.dask_device import DaskDevice
    except ImportError:
        raise MachineError("dask:// needs distributed: pip install 'edgeprune[dask]'") from None
    return DaskDevice(uri)


class Local:
    """This machine, measured in a fresh process so that it gives the record a device would."""

    uri = "local://"

    def __init__(self, python: str = sys.executable, where: str = HERE) -> None:
        """Use the interpreter at ``python``, which must have numpy and onnxruntime.

        ``where`` is this machine in messages, which another one may have asked.
        """
        self.python, self.where = python, where

    def run(self, job: Job) -> Generator[Line]:
        """See ``Device.run``."""
        with ExitStack() as stack:
            try:
                made = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeprune-"))
                models = enumerate(job.files)
                paths = [str(_as_file(model, Path(made, f"{n}.onnx"))) for n, model in models]
            except OSError as error:
                raise MachineError(f"{self.where} cannot start measuring: {error}") from None
            command = [self.python, "-P", str(RUNNER)]  # our modules must not hide the library's
            talk = stack.enter_context(Conversation(command, self.where, job.timeout))
            talk.send(job.to_json(paths).encode() + b"\n")
            yield from parsed(talk.lines(), self.where, talk.last_words, job)


def _as_file(model: File, path: Path) -> Path:
    if isinstance(model, Path):
        return model.resolve()
    path.write_bytes(content_of(model))
    return path
