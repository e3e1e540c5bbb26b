"""A simulated device whose cost function is known, and a small network to time on it."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.deploy.devices.job import Job, Line
from edgeprune.deploy.table.assemble import assemble, convolution
from edgeprune.deploy.table.graph import Width
from edgeprune.deploy.table.network import Block, Network
from tests.open_ops import linear, op, shape, width

MACHINE = {
    "arch": "x86_64",
    "system": "Linux",
    "cpu": "Sim",
    "cores": 2,
    "isa": ["avx2"],
    "onnxruntime": "1.31.1",
}


@cache
def work(model: bytes, step: int) -> tuple[float, float]:
    """Nanoseconds and bytes of weights of a model on a device that works in blocks of channels.

    Reading the input and writing the output costs a change of layout, widths off a multiple of 4
    cost half as much again, and an addition is free (it is fused).
    """
    graph = onnx.load_from_string(model).graph
    shapes = {t.name.removesuffix(".shape"): tuple(t.int64_data) for t in graph.initializer}
    _, channels, *spatial = (d.dim_value for d in graph.input[0].type.tensor_type.shape.dim)
    side = {"x": spatial[0] if spatial else 1}
    made = {"x": channels}
    spent, weights = 4000.0 + made["x"] * side["x"] ** 2, 0.0
    for node in graph.node:
        name, source = node.output[0], node.input[0] if node.input else ""
        if node.op_type == "ConstantOfShape":
            continue
        made[name], side[name] = made[source], side[source]
        if node.op_type in ("Conv", "Gemm"):
            shape = shapes[node.input[1]]
            strides = [a.ints[0] for a in node.attribute if a.name == "strides"]
            side[name] //= strides[0] if strides else 1
            made[name] = shape[0]
            taps = math.prod(shape[2:])
            blocks = math.ceil(made[name] / step) * math.ceil(made[source] / step)
            ragged = 1.5 if made[name] % 4 or (made[source] % 4 > 0 and made[source] > 4) else 1.0
            spent += 200 + 2.5 * ragged * blocks * taps * side[name] ** 2
            weights += 4.0 * made[name] * made[source] * taps
        if node.op_type == "Relu":
            spent += 0.1 * made[name] * side[name] ** 2
        if node.op_type == "GlobalAveragePool":
            side[name] = 1
    return spent + 0.5 * made["y"] * side["y"] ** 2, weights


@dataclass
class Simulated:
    """A device with steps of ``step`` channels that is disturbed in every third epoch.

    Attributes:
        step: Block of channels its kernels work on.
        cache_bytes: Weights that fit; a model with more pays for loading all of them.
        noise: Relative spread of single runs.
        machine: Its facts.
    """

    step: int = 8
    cache_bytes: float = math.inf
    noise: float = 0.004
    machine: dict[str, Any] = field(default_factory=lambda: dict(MACHINE))
    jobs: list[Job] = field(default_factory=list)
    uri: str = "simulated://"

    def true_ms(self, model: bytes, *, cold: bool = False) -> float:
        spent, weights = work(model, self.step)
        return (spent + 0.05 * weights * (cold or weights > self.cache_bytes)) / 1e6

    def run(self, job: Job) -> Generator[Line]:
        self.jobs.append(job)
        yield {"kind": "machine", "machine": self.machine}
        random = np.random.default_rng(len(self.jobs))
        for number, epoch in enumerate(job.epochs):
            order = [epoch.open[place] for place in epoch.sequence]
            first = np.array([self.true_ms(bytes(job.models[m]), cold=True) for m in order])  # type: ignore[arg-type]
            later = np.array([self.true_ms(bytes(job.models[m])) for m in order])  # type: ignore[arg-type]
            ns = np.stack([first, *[later] * (epoch.burst - 1)], axis=1) * 1e6
            ns = ns * 1.4 + 15_000 if number % 3 == 1 else ns
            jitter = 1 + self.noise * np.abs(random.standard_normal((epoch.rounds, *ns.shape)))
            yield {"kind": "epoch", "epoch": number, "samples": (ns * jitter).tolist()}

    def true(self, network: Network, widths: np.ndarray) -> np.ndarray:
        """Milliseconds of networks with widths (P, G)."""
        return np.array([self.true_ms(assemble(network.at(row.tolist()))) for row in widths])

    @property
    def timed(self) -> int:
        """Units it was given, copies of the reference not counted."""
        return sum(max(0, len(job.models) - 2) for job in self.jobs)


def residual(name: str, source: str, groups: tuple[int, int, int], side: int) -> Block:
    before, inner, after = map(width, groups)
    stride = 1 if before == after else 2
    small = side // stride
    square, made = (small, small), shape(after, small)
    ops = [
        convolution((source, before), (f"{name}.a", inner), square, stride=stride),
        op("Relu", f"{name}.a", f"{name}.b", shape(inner, small)),
        convolution((f"{name}.b", inner), (f"{name}.c", after), square),
        op("Add", f"{name}.c {source}", f"{name}.d", made),
        op("Relu", f"{name}.d", name, made),
    ]
    if stride == 2:
        reads = (source, before)
        ops[3:4] = [
            convolution(reads, (f"{name}.s", after), square, kernel=1, stride=2),
            op("Add", f"{name}.c {name}.s", f"{name}.d", made),
        ]
    return Block(name=name, ops=tuple(ops), input=source, shape=shape(before, side), output=name)


def resnet(depth: int = 2) -> Network:
    """Streams 16, 32, 64 at 16x16, 8x8, 4x4 with ``depth`` residual blocks each."""
    stem = convolution(("in", Width(3)), ("c", width(0)), (16, 16))
    ops = (stem, op("Relu", "c", "stem", shape(width(0), 16)))
    blocks = [Block(name="stem", ops=ops, input="in", shape=shape(Width(3), 16), output="stem")]
    full = [16, 32, 64]
    stream, source = 0, "stem"
    for stage in range(3):
        for number in range(depth):
            side = 16 >> stream
            groups = (stream, len(full), stage)
            full.append(full[stage])
            blocks.append(residual(f"{stage}.{number}", source, groups, side))
            source, stream = blocks[-1].name, stage
    head = (
        op("GlobalAveragePool", source, "p", shape(width(2), 1)),
        op("Flatten", "p", "f", shape(width(2)), axis=1),
        linear(("f", width(2)), ("logits", Width(10))),
    )
    last = Block(name="head", ops=head, input=source, shape=shape(width(2), 4), output="logits")
    branches = tuple((group,) for group in range(3, len(full)))
    return Network(
        blocks=(*blocks, last), full=tuple(full), branches=branches, input_shape=(1, 3, 16, 16)
    )


@pytest.fixture
def simulated() -> type[Simulated]:
    """Make a device whose cost function is known."""
    return Simulated


@pytest.fixture
def residual_net() -> Callable[[int], Network]:
    """Make a small residual network as blocks."""
    return resnet


@pytest.fixture
def downsampling() -> Block:
    """A residual block from group 0 over group 1 to group 2, with a projection."""
    return residual("down", "in", (0, 1, 2), 8)


@pytest.fixture
def weight_bytes() -> Callable[[bytes], float]:
    """Bytes of weights of an ONNX file made of blocks."""
    return lambda model: work(model, 8)[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a calibration folder, and a user cache of its own."""
    (tmp_path / "calibration").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path
