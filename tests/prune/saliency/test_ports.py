"""Ports: which layers read a group, which rows its channels own, and what is left out by name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.saliency import ports
from edgeprune.prune.saliency.ports import find_additions, find_ports, unfolded
from edgeprune.prune.tracing.trace import trace
from tests.models import NETS, lively


def traced_of(*layers: nn.Module, side=6):
    torch.manual_seed(0)
    return trace(nn.Sequential(*layers).eval(), torch.randn(1, 3, side, side))


def outputs(traced, port, x):
    """What the weights of a port's parts make of its unfolded inputs, without the bias."""
    values = {}

    class Run(torch.fx.Interpreter):
        def run_node(self, n):
            if n is port.node:
                values["read"] = tuple(self.env[s] for s in port.sources)
            values[n.name] = super().run_node(n)
            return values[n.name]

    with torch.no_grad():
        Run(traced.graph).run(x)
    layer = ports.reader(traced.graph, port.node)
    rows = unfolded(port, layer, values["read"])[0].double()  # (D, L)
    width = max(int(part.outputs.max()) for part in port.parts) + 1
    total = torch.zeros(width, rows.shape[1], dtype=torch.float64)
    for part in port.parts:
        total[torch.from_numpy(part.outputs)] += part.weight @ rows[torch.from_numpy(part.rows)]
    bias = getattr(layer, "bias", None)
    shown = values[port.node.name][0].double()
    return total if bias is None else total + bias.detach().double()[:, None], shown


CASES = {
    "convolution": (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2)),
    "grouped": (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2)),
    "linear": (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)),
}


@pytest.mark.parametrize("widest", [2304, 10])
@pytest.mark.parametrize("name", CASES)
def test_the_parts_of_a_port_compute_what_its_layer_does(name, widest, monkeypatch):
    """Whole or cut into one tap, or position, of every channel."""
    monkeypatch.setattr(ports, "WIDEST", widest)
    traced = traced_of(*CASES[name])
    found, left = find_ports(traced)
    assert not left
    (port,) = [p for p in found if p.name == str(len(CASES[name]) - 1)]
    computed, shown = outputs(traced, port, torch.randn(1, 3, 6, 6))
    torch.testing.assert_close(computed, shown.reshape(computed.shape), rtol=1e-4, atol=1e-4)
    for part in port.parts:
        owners = np.unique(port.group[part.rows])
        assert len(owners) == 1
        assert len(part.rows) <= widest or widest == 2304
        assert len(np.unique(port.member[part.rows])) == traced.groups[owners[0]].width


def test_a_channel_owns_its_taps():
    traced = traced_of(*CASES["convolution"])
    port = find_ports(traced)[0][0]
    assert port.member.tolist() == np.repeat(np.arange(4), 9).tolist()


def test_depthwise_layers_go_with_their_channels_and_what_follows_reads_them():
    traced = traced_of(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    )
    found, left = find_ports(traced)
    assert [port.name for port in found] == ["4"]
    assert list(left) == ["2"]
    assert "as a whole" in left["2"]


def test_what_has_no_closed_form_is_left_by_name():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.same = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.up = nn.ConvTranspose2d(4, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.same(self.same(F.relu(self.stem(x))))
            up: Tensor = self.up(x)
            return up

    found, left = find_ports(trace(Twice().eval(), torch.randn(1, 3, 6, 6)))
    assert found == ()
    assert left["same"] == "it is called more than once"
    assert "ConvTranspose2d" in left["up"]


def test_an_addition_reads_both_sides_with_weight_one():
    torch.manual_seed(0)
    traced = trace(lively(NETS["resnet"]()).eval(), torch.zeros(1, 3, 8, 8))
    found = find_additions(traced)
    assert {port.name for port in found} == {block.name for block in traced.blocks}
    for port in found:
        computed, _ = outputs(traced, port, torch.randn(1, 3, 8, 8))
        assert (port.group == 0).sum() == (port.group == -1).sum() == len(computed)


def test_every_network_of_the_tests_has_ports_for_its_groups_or_names_what_is_left():
    for name, make in NETS.items():
        torch.manual_seed(0)
        traced = trace(lively(make()).eval(), torch.zeros(1, 3, 8, 8))
        found, left = find_ports(traced)
        read = {int(index) for port in found for index in np.unique(port.group)} - {-1}
        assert read == set(range(len(traced.groups))) or left, name
