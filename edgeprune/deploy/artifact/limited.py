"""onnx's own passes over a foreign model, in a process with limits on time and memory.

One process does them all, as importing onnx takes longer than a pass. It leaves when its stdin
closes; where it dies or says nothing in time, the next pass gets another one.
"""

import atexit
import base64
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from threading import Lock
from typing import Any

from edgeprune.deploy.devices.conversation import Conversation
from edgeprune.deploy.devices.runner import die_first, limit_memory
from edgeprune.errors import MachineError

SECONDS = 60.0  # without an answer
MOST_BYTES = 8 << 30  # of address space


class PassError(Exception):
    """onnx cannot make this of the model, or not within the limits."""


class _Process:
    """Does the passes; it is started by the first of them."""

    def __init__(self) -> None:
        self.lock, self.running = Lock(), ExitStack()
        self.talk: Conversation | None = None
        self.lines: Iterator[bytes] = iter(())

    def asked(self, name: str, model: bytes) -> bytes:
        """What it answers."""
        with self.lock:
            try:
                if self.talk is None:
                    command = [sys.executable, "-P", "-m", __name__]  # nothing of the folder
                    self.talk = self.running.enter_context(Conversation(command, "onnx", SECONDS))
                    self.lines = self.talk.lines()
                self.talk.send(f"{name} {len(model)}\n".encode() + model)
                return base64.b64decode(next(self.lines), validate=True)
            except (MachineError, StopIteration, ValueError) as error:
                self.close()
                raise PassError(str(error)) from None

    def close(self) -> None:
        """End it; it holds nothing."""
        if self.talk:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.talk.process.pid, signal.SIGKILL)
        self.running.close()
        self.talk = None


_PROCESS = _Process()
atexit.register(_PROCESS.close)


def infer(model: Any) -> Any:
    """Types of the tensors that onnx can infer, as ``onnx.ValueInfoProto``.

    Raises:
        PassError: it cannot.
    """
    import onnx

    return _passed("infer", model, onnx.GraphProto).value_info


def inline(model: Any) -> Any:
    """The model with its local functions inlined.

    Raises:
        PassError: it cannot be.
    """
    import onnx

    return _passed("inline", model, onnx.ModelProto)


def _passed(name: str, model: Any, kind: Any) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not (found := _PROCESS.asked(name, model.SerializeToString())):
        raise PassError(f"onnx cannot {name} it")
    try:
        return kind.FromString(found)
    except DecodeError as error:  # it died in the middle
        raise PassError(str(error)) from None


def _infer(model: Any) -> Any:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return onnx.GraphProto(name="types", value_info=values)


def _inline(model: Any) -> Any:
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model)


PASSES: Mapping[str, Callable[[Any], Any]] = {"infer": _infer, "inline": _inline}


def main() -> None:
    """Answer each model on stdin, behind a line with pass and size, by a line in base64.

    The line of a failure is empty.
    """
    import onnx

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed on the way is no answer
    die_first()
    limit_memory(MOST_BYTES)
    while asked := sys.stdin.buffer.readline():
        name, size = asked.decode().split()
        content = sys.stdin.buffer.read(int(size))
        try:
            found = PASSES[name](onnx.ModelProto.FromString(content)).SerializeToString()
        except Exception:  # onnx has no class of its own for it
            found = b""
        print(base64.b64encode(found).decode(), file=answers, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
