"""Recorded devices: a gate can be tested without a clock."""

import base64
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.devices.job import Job, Line

MACHINE = {
    "arch": "x86_64",
    "system": "Linux",
    "cpu": "Test CPU 1 2",
    "cores": 2,
    "allowed_cores": 2,
    "isa": ["avx", "avx2"],
    "memory_bytes": 8 << 30,
    "governor": None,
    "cgroup_quota": None,
    "python": "3.11.0",
    "onnxruntime": "1.31.1",
    "providers": ["CPUExecutionProvider"],
}
FINGERPRINT = "test-1-2-2c-1cf1d9a8"


def convnet(width: int = 8, shape: Sequence[int | str] = (1, 3, 8, 8), **metadata: str) -> bytes:
    """Two convolutions of ``width`` channels, pooling and a classifier, as an ONNX file."""
    random = np.random.default_rng(0)

    def weight(name: str, *dims: int) -> Any:
        return numpy_helper.from_array(random.standard_normal(dims).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], name="linear", transB=1),
    ]
    weights = [
        weight("w1", width, 3, 3, 3),
        weight("b1", width),
        weight("w2", width, width, 1, 1),
        weight("w3", 4, width),
        weight("b3", 4),
    ]
    graph = helper.make_graph(
        nodes,
        "convnet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], 4])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, {f"edgeprune.{key}": value for key, value in metadata.items()})
    return bytes(model.SerializeToString())


def optimised(*domains: str, reorders: Sequence[str] = ()) -> bytes:
    """An optimised graph with one convolution a domain, and reorders after tensors."""
    convolutions = [
        helper.make_node("Conv", ["x", f"w{n}"], [f"y{n}"], name=f"conv{n}", domain=domain)
        for n, domain in enumerate(domains)
    ]
    moved = [
        helper.make_node("ReorderOutput", ["z"], [name], domain="com.microsoft.nchwc")
        for name in reorders
    ]
    return bytes(
        helper.make_model(
            helper.make_graph([*convolutions, *moved], "g", [], [])
        ).SerializeToString()
    )


@dataclass
class Recorded:
    """A device that answers from a list: no clock, and a session only for images.

    Attributes:
        ratios: One per epoch, over all jobs; the last one goes on for ever.
        reference_ns: Time of the reference.
        graphs: Optimised graphs, by index of the model.
        memory: ``load_ns`` and ``peak_bytes`` per footprint job.
        run_seconds: How long a run takes, as the gate plans by.
        seconds: How far ``clock`` goes on with each epoch.
        finite: Whether each model answers with numbers.
        jobs: What was asked, in order.
        clock: Time on the device, in s.
    """

    ratios: Sequence[float] = (0.5,)
    reference_ns: int = 1_000_000
    graphs: Sequence[bytes] = (optimised("com.microsoft.nchwc"),) * 2
    memory: Sequence[tuple[int, int]] = ((2_000_000, 5_000_000),)
    machine: dict[str, Any] = field(default_factory=lambda: dict(MACHINE))
    counters: dict[str, float] = field(default_factory=dict)
    run_seconds: float = 0.001
    seconds: float = 0.0
    finite: Sequence[bool] = (True, True)
    jobs: list[Job] = field(default_factory=list)
    clock: float = 0.0
    uri: str = "recorded://"

    @property
    def timed(self) -> list[Job]:
        """The jobs that timed something, without those that set the pace alone."""
        return [job for job in self.jobs if any(epoch.burst > 1 for epoch in job.epochs)]

    def __post_init__(self) -> None:
        self._ratios = itertools.chain(self.ratios, itertools.repeat(self.ratios[-1]))
        self._memory = itertools.cycle(self.memory)

    def run(self, job: Job) -> Generator[Line]:
        self.jobs.append(job)
        yield {"kind": "machine", "machine": self.machine}
        if job.batches:  # answers are no matter of time, and real ones
            answered = Local().run(job)
            yield from (line for line in answered if line["kind"] == "logits")
        for model in job.graphs:
            onnx_bytes = base64.b64encode(self.graphs[model]).decode()
            yield {"kind": "graph", "model": model, "onnx": onnx_bytes}
        for model in job.memory:
            load, peak = next(self._memory)
            yield {"kind": "memory", "model": model, "load_ns": load, "peak_bytes": peak}
        quiet = {"cpu_ns": 99, "wall_ns": 100, "ticks": 10, "steal_ticks": 0, "throttled_us": 0}
        for number, epoch in enumerate(job.epochs):
            if epoch.burst == 1:
                yield self._pilot(number, len(epoch.open)) | quiet
                continue
            ratio, last = next(self._ratios), len(job.models) - 1
            row = []
            for place in epoch.sequence:
                is_reference = len(epoch.open) > 1 and epoch.open[place] == last
                ns = self.reference_ns if is_reference else round(self.reference_ns * ratio)
                row.append([ns + 1000, ns][: epoch.burst])
            samples = [row] * epoch.rounds
            line = {"kind": "epoch", "epoch": number, "samples": samples, "load": 0.5}
            self.clock += self.seconds
            yield line | quiet | self.counters

    def _pilot(self, number: int, count: int) -> Line:
        """An epoch of one run each, which sets the pace and takes none of the ratios."""
        ns, opened = round(self.run_seconds * 1e9), [0] * count
        line = {"kind": "epoch", "epoch": number, "samples": [[[ns]] * count], "load": 0.5}
        return line | {"opened_ns": opened, "finite": list(self.finite[:count])}


@pytest.fixture
def record() -> Callable[..., Recorded]:
    """Make a recorded device."""
    return Recorded


@pytest.fixture
def net() -> Callable[..., bytes]:
    """Make a tiny ONNX file."""
    return convnet


@pytest.fixture
def graph() -> Callable[..., bytes]:
    """Make an optimised graph."""
    return optimised


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A slim and a dense model on disk; nothing is recorded in them."""
    slim, dense = tmp_path / "model.onnx", tmp_path / "reference.onnx"
    slim.write_bytes(convnet(4))
    dense.write_bytes(convnet(8))
    onnx.checker.check_model(onnx.load(slim))
    return slim, dense
