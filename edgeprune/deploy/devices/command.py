"""Runs jobs through any command that starts a Python with numpy and onnxruntime: ``exec:COMMAND``.

``docker exec -i NAME python3``, ``kubectl exec -i POD -- python3``, ``adb shell python3``,
``qemu-aarch64 ... python3``. The command is started with ``-I -m code`` behind it, words that any
shell on the way leaves alone. That module reads Python from stdin, and one line of it makes the
runner of what follows: runner, job and models travel on stdin, and no file is left anywhere.
"""

import shlex
from collections.abc import Generator, Iterator, Sequence

from edgeprune.deploy.devices.conversation import Conversation
from edgeprune.deploy.devices.job import RUNNER, Job, Line, content_of
from edgeprune.deploy.devices.reply import Patience, broken_off, parsed
from edgeprune.errors import InputError
from edgeprune.text import one_line

PYTHON_OPTIONS = ("-I", "-m", "code")  # -I: no module of the folder it starts in is imported
READY = b"edgeprune: send the runner"
# Only what follows the answer is read as bytes: before it, the lines that `code` reads ahead are
# text. A terminal would echo the line, so it does not hold the answer as such.
START = """
import os, site, sys
sys.path.append(site.getusersitepackages())
print("edgeprune:", "send the runner", flush=True)
try:
    source = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
    exec(compile(source, "runner.py", "exec"), {"__name__": "__main__"})
except BaseException as error:
    print(type(error).__name__, error, sep=": ", file=sys.stderr, flush=True)
os._exit(1)
"""


def words_of(uri: str) -> list[str]:
    """The words of ``exec:COMMAND``, split as a shell does; no shell runs it.

    Raises:
        InputError: no command, or a quote that does not end.
    """
    try:
        words = shlex.split(uri.removeprefix("exec:"))
    except ValueError as error:
        raise InputError(f"device {one_line(uri)!r}: {error}") from None
    if not words:
        raise InputError("device 'exec:' names no command, such as exec:docker exec -i pi python3")
    return words


class Command:
    """A device behind a command."""

    def __init__(self, command: Sequence[str], uri: str) -> None:
        """The command with its arguments, and the address of the device for messages."""
        self.command, self.uri = (*command, *PYTHON_OPTIONS), one_line(uri)

    def run(self, job: Job) -> Generator[Line]:
        """See ``Device.run``.

        Raises:
            MachineError: the command does not start or ends, nothing there is a Python with numpy
                and onnxruntime, or silence.
        """
        with Conversation(self.command, self.uri, job.timeout) as talk:
            talk.send(f"exec({START!r})\n".encode())
            lines = talk.lines()
            if not _is_ready(lines, Patience(self.uri, job.timeout)):
                raise broken_off(self.uri, talk.last_words())
            runner = RUNNER.read_bytes()
            talk.send(f"{len(runner)}\n".encode() + runner)
            # What no part of the job opens need not travel.
            models = [content_of(m) if n in job.opened else b"" for n, m in enumerate(job.files)]
            talk.send(job.to_json([len(model) for model in models]).encode() + b"\n")
            for model in models:
                talk.send(model)
            yield from parsed(lines, self.uri, talk.last_words, job)


def _is_ready(lines: Iterator[bytes], patience: Patience) -> bool:
    """Whether the far side comes to read the runner; a banner may come before."""
    for line in lines:
        if READY in line:  # behind the prompt of `code`
            return True
        patience.with_banner()
    return False
