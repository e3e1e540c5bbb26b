"""What a worker does before its first task."""

import os
import platform
import signal
import subprocess
import sys

import pytest
from distributed import Client

from edgeprune.run import dask_workers

SCRIPT = """
import resource
import numpy as np
from edgeprune.run.dask_kept import let_heap_grow
if %r:
    let_heap_grow()
np.ones(1 << 17)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    np.ones(1 << 17)  # 1 MiB, 256 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again_as_without_dask() -> None:
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask starts workers
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT % undone],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for undone in (False, True)
    ]
    assert faults[0] > 20_000
    assert faults[1] < 2_000


def test_what_dask_sets_for_its_workers_stays_with_them() -> None:
    before = dict(os.environ)
    with dask_workers._cluster(1) as cluster, Client(cluster) as client:
        worker = client.submit(os.getpid, pure=False).result(60)
        os.kill(worker, signal.SIGKILL)
        assert client.submit(os.getpid, pure=False).result(60) != worker
        assert client.submit(os.getenv, "OMP_NUM_THREADS").result(60) == "1"
        changed = {name for name, value in os.environ.items() if before.get(name) != value}
        # No program that times models reads these two.
        assert changed <= {"PYTHONHASHSEED", "__DASK_PARENT_PID"}
