"""The latency table on a simulated device whose cost function is known."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.deploy import records
from edgeprune.deploy.assemble import assemble
from edgeprune.deploy.fitting import rank_correlation
from edgeprune.deploy.grid import levels, rewarded
from edgeprune.deploy.job import Job, Line
from edgeprune.deploy.network import Block, Network, Op, Width
from edgeprune.deploy.table import Probe, draw, load_or_build, probe
from edgeprune.errors import InputError
from edgeprune.target import Channels, Runtime, TargetProfile

MACHINE = {"arch": "x86_64", "system": "Linux", "cpu": "Sim", "cores": 2, "isa": ["avx2"]}
EIGHTS = (8, 16, 24, 32, 40, 48, 56, 64)
PROFILE = TargetProfile(schema=1, name="sim")
PINNED = PROFILE.model_copy(update={"channels": Channels(grid=(8, 16, 32))})  # probes faster


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
        version: Of its onnxruntime.
    """

    step: int = 8
    cache_bytes: float = math.inf
    noise: float = 0.004
    version: str = "1.31.1"
    jobs: list[Job] = field(default_factory=list)
    uri: str = "simulated://"

    def true_ms(self, model: bytes, *, cold: bool = False) -> float:
        spent, weights = work(model, self.step)
        return (spent + 0.05 * weights * (cold or weights > self.cache_bytes)) / 1e6

    def run(self, job: Job) -> Iterator[Line]:
        self.jobs.append(job)
        yield {"kind": "machine", "machine": {**MACHINE, "onnxruntime": self.version}}
        random = np.random.default_rng(len(self.jobs))
        for number, epoch in enumerate(job.epochs):
            order = [epoch.open[place] for place in epoch.sequence]
            first = np.array([self.true_ms(bytes(job.models[m]), cold=True) for m in order])  # type: ignore[arg-type]
            later = np.array([self.true_ms(bytes(job.models[m])) for m in order])  # type: ignore[arg-type]
            ns = np.stack([first, *[later] * (epoch.burst - 1)], axis=1) * 1e6
            ns = ns * 1.4 + 15_000 if number % 3 == 1 else ns
            jitter = 1 + self.noise * np.abs(random.standard_normal((epoch.rounds, *ns.shape)))
            yield {"kind": "epoch", "epoch": number, "samples": (ns * jitter).tolist()}

    @property
    def timed(self) -> int:
        """Units it was given, copies of the reference not counted."""
        return sum(max(0, len(job.models) - 2) for job in self.jobs)


def conv(kernel: int, stride: int) -> tuple[tuple[str, Any], ...]:
    sizes = (("kernel_shape", (kernel,) * 2), ("pads", (kernel // 2,) * 4))
    return (*sizes, ("strides", (stride,) * 2))


def width(group: int) -> Width:
    return Width(0, ((group, 1),))


def residual(name: str, source: str, groups: tuple[int, int, int], side: int) -> Block:
    before, inner, after = groups
    stride = 1 if before == after else 2
    ops = [
        Op("Conv", (source,), f"{name}.a", width(inner), conv(3, stride)),
        Op("Relu", (f"{name}.a",), f"{name}.b", width(inner)),
        Op("Conv", (f"{name}.b",), f"{name}.c", width(after), conv(3, 1)),
        Op("Conv", (source,), f"{name}.s", width(after), conv(1, stride)),
        Op("Add", (f"{name}.c", f"{name}.s"), f"{name}.d", width(after)),
        Op("Relu", (f"{name}.d",), name, width(after)),
    ]
    if stride == 1:
        del ops[3]
        ops[3] = replace(ops[3], inputs=(f"{name}.c", source))
    return Block(name, tuple(ops), source, width(before), (side, side))


def resnet(depth: int = 2) -> Network:
    """Streams 16, 32, 64 at 16x16, 8x8, 4x4 with ``depth`` residual blocks each."""
    ops = (Op("Conv", ("in",), "c", width(0), conv(3, 1)), Op("Relu", ("c",), "stem", width(0)))
    blocks, full = [Block("stem", ops, "in", Width(3), (16, 16))], [16, 32, 64]
    stream, source = 0, "stem"
    for stage in range(3):
        for number in range(depth):
            side = 16 >> stream
            groups = (stream, len(full), stage)
            full.append(full[stage])
            blocks.append(residual(f"{stage}.{number}", source, groups, side))
            source, stream = blocks[-1].name, stage
    head = (
        Op("GlobalAveragePool", (source,), "p", width(2)),
        Op("Flatten", ("p",), "f", width(2), (("axis", 1),)),
        Op("Gemm", ("f",), "logits", Width(10)),
    )
    blocks.append(Block("head", head, source, width(2), (4, 4)))
    branches = tuple((group,) for group in range(3, len(full)))
    return Network(tuple(blocks), tuple(full), branches, (1, 3, 16, 16))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a calibration folder, and a user cache of its own."""
    (tmp_path / "calibration").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def truth(device: Simulated, network: Network, widths: np.ndarray) -> np.ndarray:
    return np.array([device.true_ms(assemble(network.at(row.tolist()))) for row in widths])


@pytest.mark.parametrize(("step", "grid"), [(8, EIGHTS), (16, (16, 32, 48, 64)), (32, (32, 64))])
def test_the_steps_of_the_device_are_found(step: int, grid: tuple[int, ...]) -> None:
    report = probe(resnet(1), PROFILE, Probe(Simulated(step)))
    assert report.grid == report.model.grid == grid
    assert set(report.costs) == {"inner", "stream"}
    assert all(costs[-1] == 1 and len(costs) == 64 for costs in report.costs.values())


def test_other_networks_of_the_space_are_predicted() -> None:
    device, network = Simulated(), resnet()
    model = load_or_build(network, PROFILE, Probe(device))
    widths = np.array(draw(network, EIGHTS, 200, seed=99))
    predicted, true = model.predict(widths), truth(device, network, widths)
    errors = np.abs(predicted / true - 1)
    assert errors.mean() < 0.01
    assert errors.max() < 0.04
    assert rank_correlation(predicted, true) > 0.995
    assert model.error == pytest.approx(errors.mean(), abs=0.01)
    assert model.fit.rank > 0.99
    assert model.fit.scale == pytest.approx(1, abs=0.02)


def test_dense_is_slower_than_all_else_and_a_dropped_branch_costs_nothing_more() -> None:
    network = resnet()
    model = load_or_build(network, PINNED, Probe(Simulated()))
    dense = np.array([network.full])
    widths = np.array(draw(network, (8, 16, 32), 50, seed=3))
    assert (model.predict(widths) <= model.predict(dense) * 1.001).all()
    for group in network.droppable:
        gone, small = dense.copy(), dense.copy()
        gone[0, group], small[0, group] = 0, 8
        assert model.predict(gone) < model.predict(small) < model.predict(dense)


def test_weights_that_do_not_fit_the_cache_are_paid_for() -> None:
    """The same blocks cost more in a network that is larger than the cache."""
    device, network = Simulated(cache_bytes=320_000.0), resnet()
    model = load_or_build(network, PROFILE, Probe(device))
    widths = np.array(draw(network, EIGHTS, 100, seed=5))
    errors = np.abs(model.predict(widths) / truth(device, network, widths) - 1)
    assert model.fit.more == pytest.approx(1, abs=0.3)
    assert errors.mean() < 0.03


def test_bytes_of_weights_are_exact() -> None:
    network = resnet()
    model = load_or_build(network, PINNED, Probe(Simulated()))
    widths = np.array(draw(network, (8, 16, 32), 30, seed=8))
    expected = [work(assemble(network.at(row.tolist())), 8)[1] for row in widths]
    assert model.sums(widths)[:, 2] == pytest.approx(expected)


def test_a_pinned_grid_is_not_probed() -> None:
    device = Simulated()
    profile = PROFILE.model_copy(update={"channels": Channels(grid=(12, 24, 36))})
    report = probe(resnet(1), profile, Probe(device))
    assert report.grid == (12, 24, 36)
    assert report.costs == {}
    assert report.model.levels(2) == (12, 24, 36, 48, 60, 64)
    assert report.model.levels(4) == (0, 12, 24, 32)
    assert len(device.jobs[1].models) < 300


def test_unoptimised_blocks_are_refused() -> None:
    profile = PINNED.model_copy(update={"runtime": Runtime(optimisation="disable")})
    with pytest.raises(InputError, match=r"runtime\.optimisation"):
        probe(resnet(1), profile, Probe(Simulated()))


def test_a_table_is_measured_once_and_grows() -> None:
    first, again, other = Simulated(), Simulated(), Simulated()
    report = probe(resnet(2), PROFILE, Probe(first))
    assert report.timed_now > 200
    assert report.doubtful == 0
    once = probe(resnet(2), PROFILE, Probe(again))
    assert again.timed == once.timed_now == 0
    assert once.model.document == report.model.document
    deeper = probe(resnet(3), PROFILE, Probe(other))
    assert 0 < deeper.timed_now < 60  # whole networks only: its blocks are the same
    table = records.read(deeper.path, "sim")
    assert len(table.networks) == 2
    assert deeper.grid == report.grid


def test_the_same_measurements_give_the_same_bytes(elsewhere: Path) -> None:
    first = probe(resnet(1), PINNED, Probe(Simulated()))
    content = first.path.read_bytes()
    second = probe(resnet(1), PINNED, Probe(Simulated(), rebuild=True))
    assert second.path == first.path
    assert second.path.read_bytes() == content
    assert second.model.sha256 == first.model.sha256
    assert json.loads(content)["conditions"]["onnxruntime"] == "1.31.1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "1.32.0"}, "onnxruntime 1.31.1, now 1.32.0"),
        ({"threads": 2}, "threads 1, now 2"),
        ({"optimisation": "basic"}, "optimisation all, now basic"),
    ],
)
def test_a_stale_table_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    probe(resnet(1), PINNED, Probe(Simulated()))
    device = Simulated(version=change.pop("version", "1.31.1"))
    profile = PINNED.model_copy(update={"runtime": Runtime(**change)})
    with pytest.raises(InputError) as error:
        load_or_build(resnet(1), profile, Probe(device))
    assert said in str(error.value)
    assert "edgeprune probe --target sim" in str(error.value)
    assert "\n" not in str(error.value)
    assert device.timed == 0
    assert probe(resnet(1), profile, Probe(device, rebuild=True)).timed_now > 0


def test_another_machine_has_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = probe(resnet(1), PINNED, Probe(Simulated()))
    monkeypatch.setitem(MACHINE, "cpu", "Other")
    there = probe(resnet(1), PINNED, Probe(Simulated()))
    assert there.timed_now > 0
    assert there.path != here.path
    assert there.path.parent == here.path.parent


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"\x80\x02not json",
        lambda text: text.replace(b'"schema": 1', b'"schema": 9'),
        lambda text: text.replace(b'"units"', b'"unit"'),
        lambda text: text.replace(b'"threads": 1', b'"threads": "many"'),
    ],
)
def test_a_damaged_table_is_one_line(damage: Callable[[bytes], bytes]) -> None:
    path = probe(resnet(1), PINNED, Probe(Simulated())).path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as error:
        load_or_build(resnet(1), PINNED, Probe(Simulated()))
    assert "is not a latency table" in str(error.value)
    assert "edgeprune probe --target sim" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_another_process_wrote_meanwhile_stays() -> None:
    others = probe(resnet(1), PINNED, Probe(Simulated()))
    mine = others.path.read_bytes()
    others.path.unlink()

    def meanwhile(what: str, share: float) -> None:
        others.path.write_bytes(mine)

    path = probe(resnet(2), PINNED, Probe(Simulated(), progress=meanwhile)).path
    assert path == others.path
    assert len(records.read(path, "sim").networks) == 2
    assert list(path.parent.iterdir()) == [path]  # no temporary files stay


def test_without_a_calibration_folder_the_user_cache_is_used(elsewhere: Path) -> None:
    (elsewhere / "calibration").rmdir()
    path = probe(resnet(1), PINNED, Probe(Simulated())).path
    assert path.is_relative_to(elsewhere / "cache")
    again = Simulated()
    assert probe(resnet(1), PINNED, Probe(again)).path == path
    assert again.timed == 0


def test_progress_names_the_steps_and_ends_at_one() -> None:
    seen: list[tuple[str, float]] = []
    probe(resnet(1), PROFILE, Probe(Simulated(), progress=lambda *step: seen.append(step)))
    assert list(dict.fromkeys(what for what, _ in seen)) == [
        "channel grid",
        "blocks",
        "whole networks",
    ]
    assert all(0 < share <= 1 for _, share in seen)
    assert seen[-1][1] == 1


@pytest.mark.parametrize(
    ("place", "wrong", "said"),
    [(0, 7, "width 7 of group 0"), (2, 72, "width 72"), (0, 0, "width 0"), (1, -8, "width -8")],
)
def test_a_width_that_was_not_measured_is_refused(place: int, wrong: int, said: str) -> None:
    network = resnet(1)
    model = load_or_build(network, PINNED, Probe(Simulated()))
    widths = np.array([network.full, network.full])
    widths[1, place] = wrong
    with pytest.raises(InputError, match=said):
        model.predict(widths)
    with pytest.raises(InputError, match="widths for"):
        model.predict(widths[:, 1:])


def test_no_networks_no_predictions() -> None:
    model = load_or_build(resnet(1), PINNED, Probe(Simulated()))
    assert model.predict(np.empty((0, 6), np.int64)).shape == (0,)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([1, 1, 1, 1, 2, 2, 2, 2], (4, 8)),
        ([1, 1.01, 0.99, 1, 2, 1.98, 2.01, 2], (4, 8)),  # noise inside a step
        ([1, 3, 2, 2, 2, 4, 4, 3], (1, 5, 8)),  # ragged widths cost more than larger ones
        ([7.9, 7.92, 7.94, 7.96, 7.97, 7.98, 7.99, 8], (8,)),  # nothing to gain
        ([1, 2, 3, 4, 5, 6, 7, 8], (1, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_the_largest_width_of_each_step(costs: list[float], expected: tuple[int, ...]) -> None:
    assert rewarded({"inner": costs, "stream": costs}) == expected


def test_legal_widths() -> None:
    network = replace(resnet(1), full=(16, 20, 100, 16, 20, 100), owned=(1, 1, 1, 2, 4, 1))
    assert levels(network, 0, (8, 16, 32)) == (8, 16)
    assert levels(network, 1, (8, 16, 32)) == (8, 16, 20)
    assert levels(network, 2, (8, 16, 32)) == (8, 16, 32, 48, 64, 80, 96, 100)
    assert levels(network, 3, (8, 16, 32)) == (4, 8, 16)
    assert levels(network, 4, (6, 16, 32)) == (4, 8, 12, 16, 20)
    assert levels(network, 0, (64,)) == (16,)


def test_rank_correlation_is_spearmans() -> None:
    left = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    # 1 - 6 * (0 + 0 + 1 + 1 + 0) / (5 * 24)
    assert rank_correlation(left, np.array([0.1, 0.2, 9.0, 8.0, 99.0])) == pytest.approx(0.9)
    assert rank_correlation(left, -left) == pytest.approx(-1)
    assert rank_correlation(left, np.ones(5)) == 1.0
