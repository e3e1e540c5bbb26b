"""Latency from whole networks, where blocks do not add up or there are none."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.deploy.artifact.facts import count_macs
from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.bench import Probe, draw
from edgeprune.deploy.table.grid import residual_block
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.probe import probe
from edgeprune.deploy.table.whole_networks import WholeNetworks
from edgeprune.errors import InputError
from edgeprune.target import Channels, TargetProfile
from tests.deploy.table.conftest import Simulated

Make = Callable[..., Any]
GRID = (8, 16, 32)
PROFILE = TargetProfile(schema=1, name="sim", channels=Channels(grid=GRID))


@dataclass
class Moody(Simulated):
    """A device on which what lies in one block decides what all the others cost."""

    def true_ms(self, model: bytes, *, cold: bool = False) -> float:
        nodes = onnx.load_from_string(model).graph
        sizes = [list(t.int64_data) for t in nodes.initializer if len(t.int64_data) == 4]
        alone = super().true_ms(model, cold=cold)
        wide = sum(shape[0] == 64 and shape[1] < 32 for shape in sizes)
        return alone * (1 + 0.5 * wide) if len(sizes) > 4 else alone


def work_of(network: Network) -> Callable[[np.ndarray], np.ndarray]:
    """Multiply-accumulates of networks with widths (P, G)."""

    def counted(widths: np.ndarray) -> np.ndarray:
        models = [onnx.load_from_string(assemble(network.at(row.tolist()))) for row in widths]
        return np.array([count_macs(model, {"x": network.input_shape}).total for model in models])

    return counted


def errors(model: Any, device: Simulated, network: Network) -> np.ndarray:
    widths = np.array(draw(network, GRID, 40, seed=9))
    found: np.ndarray = np.abs(model.predict(widths) / device.true(network, widths) - 1)
    return found


def test_blocks_that_do_not_add_up_give_way_to_whole_networks(residual_net: Make) -> None:
    device, network = Moody(), residual_net(1)
    report = probe(network, PROFILE, Probe(device=device, work=work_of(network)))
    assert isinstance(report.model, WholeNetworks)
    assert "its blocks add up to" in report.model.source
    # The sum of the blocks is 0.18 off.
    assert max(report.model.error, errors(report.model, device, network).mean()) < 0.1


def test_a_network_without_blocks_is_known_from_whole_ones(
    simulated: Make, residual_net: Make
) -> None:
    device, full = simulated(), residual_net(1)
    network, asked = replace(full, blocks=(), graph="abc"), list[tuple[int, ...]]()

    def whole(widths: Any) -> bytes:
        asked.append(tuple(widths))
        return assemble(full.at(widths))

    uncut = "its graph cannot be cut (no rule)"
    told = list[tuple[str, int, int]]()
    options = Probe(
        device=device,
        whole=whole,
        uncut=uncut,
        work=work_of(full),
        progress=lambda *step: told.append(step),
    )
    model = probe(network, PROFILE, options).model
    assert model.source == "72 whole networks, as its graph cannot be cut (no rule)"
    assert asked[0] == full.full
    assert ("exporting networks to be timed", 84, 84) in told
    assert errors(model, device, full).mean() < 0.04
    assert model.by_block(np.array(full.full)) == pytest.approx(
        model.predict(np.array([full.full]))
    )
    assert model.names == ("network",)
    timed = device.timed
    probe(network, PROFILE, options)
    assert device.timed == timed  # all of it is on disk
    probe(replace(network, graph="abd"), PROFILE, options)
    assert device.timed > timed


def test_a_branch_with_one_group_at_0_has_none_of_its_groups(simulated: Make) -> None:
    network = Network(
        blocks=(), full=(16, 16, 32), branches=((0, 1),), input_shape=(1, 3, 8, 8), graph="g"
    )
    flat = assemble(residual_block(16, 8, 8))
    model = probe(network, PROFILE, Probe(device=simulated(), whole=lambda widths: flat)).model
    one, both = model.predict(np.array([[0, 16, 32], [0, 0, 32]]))
    assert one == both
    with pytest.raises(InputError, match="width 7 of group 2"):
        model.predict(np.array([[8, 8, 7]]))
