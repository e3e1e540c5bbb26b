"""Error rates of the latency gate: ``python benchmarks/gate.py`` [--trials 100] [--no-burner].

Gates on two networks of about 1 ms (a CIFAR ResNet-20, and one with half the inner widths), with a
process that burns the very core that measures: a model against itself at a limit of 1.03, and a
candidate that is 2, 5 and 10 % slower than its limit, or as much faster. Every gate is a whole
``check``: fresh processes, kernel layout, a second measurement before a miss. Last, without the
burner, the wall time of the ``edgeprune check`` command.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.deploy.gate.check import Options, check
from edgeprune.deploy.timing.protocol import compare_many
from edgeprune.deploy.timing.setting import Setting
from edgeprune.target import TargetProfile

PROFILE = TargetProfile.model_validate({"schema": 1, "name": "gate-benchmark"})
BURN = "while True: sum(i * i for i in range(10_000))"
SECONDS_BAR = 3.0


@dataclass(frozen=True)
class Cell:
    """One row of the table: what was gated, how it went, what it cost."""

    name: str
    outcomes: Counter[str]
    seconds: Sequence[float]

    def row(self) -> str:
        """The row, as text."""
        total = sum(self.outcomes.values())
        shares = (f"{self.outcomes[o]:4}/{total}" for o in ("missed", "met", "inconclusive"))
        return (
            f"{self.name:28}"
            + "".join(f"{s:>14}" for s in shares)
            + (f"{statistics.median(self.seconds):9.2f} s")
        )


def main() -> int:
    """Print the table; 1 when a bar is not reached."""
    options = _arguments()
    with tempfile.TemporaryDirectory() as folder, _one_core(burn=options.burner):
        dense, slim = (Path(folder) / name for name in ("dense.onnx", "slim.onnx"))
        dense.write_bytes(resnet20())
        slim.write_bytes(resnet20(inner=0.5))
        ratio = compare_many([slim], dense, Setting(), epochs=options.truth)[0].interval
        if ratio is None:
            raise SystemExit("--truth must be at least 2")
        _head(options, ratio)
        cells = [_cell("against itself, limit 1.03", dense, dense, 1.03, options.trials)]
        print(cells[-1].row(), flush=True)
        for percent in (-5, -2, 2, 5, 10):
            limit = ratio.mid / (1 + percent / 100)
            cells.append(_cell(f"{percent:+} %", slim, dense, limit, options.trials))
            print(cells[-1].row(), flush=True)
    return _judge(cells, _command_seconds())


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--truth", type=int, default=96, help="epochs for the true ratio")
    parser.add_argument("--no-burner", dest="burner", action="store_false")
    return parser.parse_args()


@contextmanager
def _one_core(*, burn: bool) -> Iterator[None]:
    """Pin this process and its children to one core, with or without a burner on it."""
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("this benchmark pins processes, which needs Linux")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    burner = subprocess.Popen([sys.executable, "-c", BURN]) if burn else None
    try:
        yield
    finally:
        if burner:
            burner.kill()
            burner.wait()
        os.sched_setaffinity(0, allowed)


def _cell(name: str, candidate: Path, reference: Path, limit: float, trials: int) -> Cell:
    outcomes, seconds = Counter[str](), []
    for _ in range(trials):
        options = Options(baseline=reference, max_ratio=limit)
        start = time.monotonic()
        outcomes[check(candidate, PROFILE, options).verdicts[0].outcome] += 1
        seconds.append(time.monotonic() - start)
    return Cell(name, outcomes, seconds)


def _command_seconds() -> list[float]:
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        slim, dense = (Path(folder) / name for name in ("slim.onnx", "dense.onnx"))
        dense.write_bytes(resnet20())
        slim.write_bytes(resnet20(inner=0.5))
        command = [str(Path(sys.executable).with_name("edgeprune")), "check", str(slim)]
        command += ["--target", "mobile-cpu", "--baseline", str(dense), "--max-ratio", "0.8"]
        for _ in range(5):
            start = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds.append(time.monotonic() - start)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return seconds


def _head(options: Any, ratio: Any) -> None:
    machine = check_device("local://")
    burner = "a burner on the same core" if options.burner else "no burner"
    print(f"{machine.fingerprint}, onnxruntime {machine.machine['onnxruntime']}, {burner}")
    print(f"{datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f}, ", end="")
    print(f"slim / dense = {ratio.mid:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]")
    columns = ("missed", "met", "inconclusive")
    print(
        f"{'candidate over its limit':28}" + "".join(f"{c:>14}" for c in columns) + "     median"
    )


def _judge(cells: list[Cell], command: list[float]) -> int:
    median = statistics.median(command)
    print(f"edgeprune check, whole command, no burner: median {median:.2f} s of {len(command)}")
    failed = []
    for cell in cells:
        total = sum(cell.outcomes.values())
        if cell.name == "against itself, limit 1.03" and cell.outcomes["missed"]:
            failed.append(f"{cell.name}: {cell.outcomes['missed']} missed")
        for name, least in (("+10 %", 1.0), ("+5 %", 0.97)):
            short = cell.outcomes["missed"] < least * total or cell.outcomes["met"]
            if cell.name == name and short:
                failed.append(f"{name}: {dict(cell.outcomes)}")
    if median > SECONDS_BAR:
        failed.append(f"the command takes {median:.2f} s")
    print("bars not reached: " + "; ".join(failed) if failed else "all bars reached")
    return 1 if failed else 0


def resnet20(inner: float = 1.0) -> bytes:
    """A CIFAR ResNet-20 with random weights, its inner widths scaled by ``inner``."""
    random, nodes, weights = np.random.default_rng(0), [], []

    def convolution(x: str, shape: tuple[int, int, int], name: str, stride: int = 1) -> str:
        c_in, c_out, kernel = shape
        value = (
            random.standard_normal((c_out, c_in, kernel, kernel)) * (2 / c_in / kernel**2) ** 0.5
        )
        weights.append(numpy_helper.from_array(value.astype(np.float32), name + ".w"))
        weights.append(numpy_helper.from_array(np.zeros(c_out, np.float32), name + ".b"))
        pads, strides = [kernel // 2] * 4, [stride] * 2
        inputs = [x, name + ".w", name + ".b"]
        nodes.append(helper.make_node("Conv", inputs, [name], name, pads=pads, strides=strides))
        return name

    def relu(x: str) -> str:
        nodes.append(helper.make_node("Relu", [x], [x + ".relu"], x + ".relu"))
        return x + ".relu"

    x, c_in = relu(convolution("input", (3, 16, 3), "stem")), 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            name, middle = f"layer{stage + 1}.{block}", int(width * inner)
            stride = 2 if stage and not block else 1
            y = relu(convolution(x, (c_in, middle, 3), name + ".conv1", stride))
            y = convolution(y, (middle, width, 3), name + ".conv2")
            if c_in != width:
                x = convolution(x, (c_in, width, 1), name + ".shortcut", stride)
            nodes.append(helper.make_node("Add", [y, x], [name], name))
            x, c_in = relu(name), width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    value = random.standard_normal((10, c_in)).astype(np.float32)
    weights.append(numpy_helper.from_array(value, "linear.w"))
    nodes.append(helper.make_node("Gemm", ["flat", "linear.w"], ["logits"], "linear", transB=1))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "resnet20", [image], [logits], weights)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    sys.exit(main())
