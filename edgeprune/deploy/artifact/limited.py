"""onnx's own passes over a foreign model, in a process with limits on time and memory."""

import base64
import signal
import sys
from collections.abc import Callable

from edgeprune.deploy.devices import runner

SECONDS = 60
MOST_BYTES = 8 << 30  # of address space beyond what this process has


def limited(work: Callable[[], bytes]) -> bytes:
    """What ``work`` returns; on Linux it runs in a forked process, elsewhere in this one.

    Raises:
        Exception: of ``work``; ``runner.JobError`` where its process died or ran into a limit.
    """
    if sys.platform != "linux":
        return work()
    return base64.b64decode(runner.in_child(lambda: _within_limits(work)))


def _within_limits(work: Callable[[], bytes]) -> str:
    runner.limit_memory(runner.bytes_told("/proc/self/status", "VmSize") + MOST_BYTES)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    return base64.b64encode(work()).decode()
