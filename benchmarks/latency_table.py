"""Prediction error of the latency table: ``python benchmarks/latency_table.py`` [--nets 32].

    python benchmarks/latency_table.py --size 96 --nets 12 torchvision/resnet18

For each network the table is measured from nothing, and networks of its search space that the fit
has not seen are predicted: random inner widths on the device's grid, dropped branches, narrowed
residual streams, and all of these. Beside it, what multiply-accumulates predict after an affine
fit on the same fitted networks; below, how far a second reading of the held-out networks is off
the first, since no prediction can be nearer than that. The bars: mean error at most 4 %, rank
correlation at least 0.97, resnet56 built in at most 90 s, a million predictions a second for
resnet20. Exit code 1 when one is missed.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgeprune.deploy.artifact.facts import count_macs
from edgeprune.deploy.devices.device import Device, connect
from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.deploy.table import storage
from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.bench import Probe, network_id
from edgeprune.deploy.table.fitting import rank_correlation
from edgeprune.deploy.table.grid import reference
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.probe import ProbeReport, probe
from edgeprune.deploy.table.records import Timed
from edgeprune.deploy.table.stopwatch import time_units
from edgeprune.deploy.timing.setting import Setting
from edgeprune.export.open_network import open_network
from edgeprune.progress import silent
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.tracing.trace import trace
from edgeprune.target import TargetProfile

PROFILE = TargetProfile.model_validate({"schema": 1, "name": "table-benchmark"})
POPULATION = 200_000
MEAN_ERROR, RANK = 0.04, 0.97
BUILT_SECONDS = {"resnet56": 90.0}
SPEED = {"resnet20": 1.0}  # millions of predictions a second
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Relative errors of a predictor on held-out networks (N,)."""

    predicted: Floats
    true: Floats

    @property
    def errors(self) -> Floats:
        """Share of the true time that each prediction is off."""
        return np.abs(self.predicted / self.true - 1)

    @property
    def rank(self) -> float:
        """Spearman's correlation of predicted and true times."""
        return rank_correlation(self.predicted, self.true)

    def __str__(self) -> str:
        mean, most = 100 * self.errors.mean(), 100 * self.errors.max()
        rank = f"{self.rank:.3f}" if len(self.true) > 2 else "    -"
        return f"{mean:5.1f} % {most:5.1f} %   {rank}"


def kind(network: Network, widths: tuple[int, ...]) -> str:
    dropped = any(width == 0 for width in widths)
    streams = [g for g in range(len(widths)) if g not in network.droppable]
    narrowed = any(widths[g] < network.full[g] for g in streams)
    names = ["widths", *["branches"] * dropped, *["streams"] * narrowed]
    return " + ".join(names) if network.branches else "all widths"


def by_macs(network: Network, fitted: tuple[Timed, ...], held: tuple[Timed, ...]) -> Floats:
    """Times of ``held`` from an affine fit of MACs on ``fitted``."""

    def macs(timed: tuple[Timed, ...]) -> Floats:
        models = [onnx.load_from_string(assemble(network.at(widths))) for widths, _ in timed]
        shape = {models[0].graph.input[0].name: network.input_shape}
        return np.array([count_macs(model, shape).total for model in models]) / 1e6

    times = np.array([time for _, time in fitted])
    rows = np.stack([macs(fitted), np.ones(len(times))], axis=1) / times[:, None]
    scale, offset = np.linalg.lstsq(rows, np.ones(len(times)), rcond=None)[0]
    return np.asarray(scale * macs(held) + offset, np.float64)


def speed(report: ProbeReport) -> float:
    """Predictions a second, in millions."""
    random, model = np.random.default_rng(0), report.model
    columns = [
        random.choice(model.levels(group), POPULATION) for group in range(len(model.network.full))
    ]
    population = np.stack(columns, axis=1)
    start = time.perf_counter()
    model.predict(population)
    return POPULATION / (time.perf_counter() - start) / 1e6


def missed(name: str, errors: Errors, seconds: float, per_second: float) -> list[str]:
    """The bars that a network missed, in words; a value that is no number misses too."""
    mean, rank = float(errors.errors.mean()), errors.rank
    limit, least = BUILT_SECONDS.get(name, np.inf), SPEED.get(name, 0.0)
    bars = {
        f"mean error {mean:.1%}, at most {MEAN_ERROR:.0%}": mean <= MEAN_ERROR,
        f"rank correlation {rank:.3f}, at least {RANK}": rank >= RANK,
        f"built in {seconds:.0f} s, at most {limit:.0f} s": seconds <= limit,
        f"{per_second:.2f} M predictions/s, at least {least:.0f} M": per_second >= least,
    }
    return [f"missed: {name}: {bar}" for bar, kept in bars.items() if not kept]


def timed_again(network: Network, held: tuple[Timed, ...], device: Device) -> Floats:
    """Times of held-out networks from another reading, in times of the reference."""
    models = [assemble(network.at(widths)) for widths, _ in held]
    setting = Setting(runtime=PROFILE.runtime, device=device)
    return time_units(models, reference(), setting, Probe().networks, silent).hot


def show(
    name: str, network: Network, report: ProbeReport, seconds: float, device: Device
) -> list[str]:
    """Print the errors by kind of network.

    Returns:
        The bars that were missed.
    """
    timed = storage.read(report.path).networks[network_id(network, report.grid)]
    held = timed.held_out
    true = np.array([time for _, time in held])
    predicted = report.model.predict(np.array([widths for widths, _ in held])) / timed.reference_ms
    counted = by_macs(network, timed.fitted, held)
    kinds = np.array([kind(network, widths) for widths, _ in held])
    per_second = speed(report)
    print(
        f"\n{name}: {seconds:.0f} s, {report.timed_now} units timed, {report.doubtful} doubtful, "
        f"{per_second:.1f} M predictions/s, grid {' '.join(map(str, report.grid))}; "
        f"from {report.model.source}"
    )
    print(f"  {'held-out networks':<30}{'n':>4}   {'table':<24}MACs, affine   (mean, max, rank)")
    for label in ["everything", *sorted(set(kinds))]:
        own = np.full(len(held), True) if label == "everything" else kinds == label
        table, macs = Errors(predicted[own], true[own]), Errors(counted[own], true[own])
        print(f"  {label:<30}{own.sum():>4}   {table!s:<24}{macs}")
    again = Errors(timed_again(network, held, device), true)
    print(f"  {'a second reading':<30}{len(held):>4}   {again}")
    return missed(name, Errors(predicted, true), seconds, per_second)


def main() -> int:
    """Measure, print, and say with the exit code whether every bar is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["resnet20", "resnet56", "vgg16"])
    parser.add_argument("--nets", type=int, default=32, help="held-out networks")
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--device", default="local://")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = check_device(options.device)
    machine = device.machine
    print(f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['isa'])}, ", end="")
    print(f"onnxruntime {machine['onnxruntime']}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    failed: list[str] = []
    for name in options.models:
        kwargs = {"shortcut": "A-conv"} if name.startswith("resnet") else {}
        model = build(ModelSpec(name, 10, kwargs)).eval()
        network = open_network(trace(model, torch.zeros(1, 3, options.size, options.size))).network
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            Path("calibration").mkdir()
            start = time.perf_counter()
            asked = Probe(device=connect(options.device), held_out=options.nets, rebuild=True)
            report = probe(network, PROFILE, asked)
            seconds = time.perf_counter() - start
            failed += show(name, network, report, seconds, asked.device)
    print("\n" + ("\n".join(failed) or "every bar is kept"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
