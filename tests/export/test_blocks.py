"""From a traced model to blocks: the same work as the slim model, cut where one tensor flows."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.deploy.artifact.facts import count_macs
from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.grid import levels
from edgeprune.deploy.table.network import Network
from edgeprune.export.open_network import open_network
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.space.widths import build as build_space
from edgeprune.prune.tracing.trace import Trace, trace
from tests.models import tiny

GRID = (2, 4, 8)


def cifar(name: str, **kwargs: str) -> Trace:
    return trace(build(ModelSpec(name, 10, kwargs)).eval(), torch.zeros(1, 3, 32, 32))


def to_network(traced: Trace) -> Network:
    return open_network(traced).network


@cache
def tiny_network(name: str) -> tuple[Trace, Network]:
    traced = trace(*tiny(name))
    return traced, to_network(traced)


@cache
def cifar_network(name: str) -> tuple[Trace, Network]:
    kwargs = {"shortcut": "A-conv"} if name.startswith("resnet") else {}
    traced = cifar(name, **kwargs)
    return traced, to_network(traced)


def answer(model: bytes, shape: tuple[int, ...]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": np.ones(shape, np.float32)})[0]
    return result


def macs(network: Network, widths: np.ndarray) -> int:
    model = onnx.load_from_string(assemble(network.at(widths.tolist())))
    count = count_macs(model, {model.graph.input[0].name: network.input_shape})
    assert not count.missing
    return count.total // network.input_shape[0]


@pytest.mark.parametrize(
    "name", ["vgg", "resnet", "bottleneck", "resnext", "grouped", "densenet", "inception"]
)
def test_blocks_do_the_work_of_the_slim_model(name: str) -> None:
    traced, network = tiny_network(name)
    space = build_space(traced.groups, GRID)
    costs = CostModel(traced)
    size = (12, len(space.groups))
    population = space.snap(np.random.default_rng(0).integers(0, space.full + 1, size))
    population[0] = space.full
    expected = costs.macs(population)
    for widths, count in zip(population, expected, strict=True):
        one = network.at(widths.tolist())
        assert answer(assemble(one), (2, 3, 8, 8)).shape == (2, 5)
        assert macs(network, widths) == count


@pytest.mark.parametrize("name", ["vgg", "resnet", "bottleneck", "resnext", "densenet"])
def test_grids_are_those_of_the_pruning_space(name: str) -> None:
    traced, network = tiny_network(name)
    space = build_space(traced.groups, (4, 8))
    for group, grid in enumerate(space.grids):
        assert levels(network, group, (4, 8)) == tuple(width for width in grid if width)
        assert (0 in grid) == (group in network.droppable)


def relus(model: nn.Module, example: Tensor) -> int:
    seen = []
    graph = torch.fx.symbolic_trace(model)
    for node in graph.graph.nodes:
        called = graph.get_submodule(node.target) if node.op == "call_module" else node.target
        seen.append(isinstance(called, nn.ReLU) or getattr(called, "__name__", called) == "relu")
    return sum(seen)


def test_what_vanishes_with_a_branch_vanishes_here_too() -> None:
    """Convolutions and ReLUs are counted in the slim model, branch by branch."""
    traced, network = cifar_network("resnet20")
    example = torch.zeros(1, 3, 32, 32)
    for block in traced.blocks:
        kept = {
            group.name: () if place in block.groups else tuple(range(group.width))
            for place, group in enumerate(traced.groups)
        }
        small = slim(traced, PruningPlan(model="resnet20", kept=kept), example)
        widths = [len(kept[group.name]) for group in traced.groups]
        kinds = [op.kind for op in network.at(widths).ops]
        assert kinds.count("Conv") == sum(isinstance(m, nn.Conv2d) for m in small.modules())
        assert kinds.count("Relu") == relus(small, example)


def test_a_residual_network_is_stem_blocks_and_head() -> None:
    _, network = cifar_network("resnet20")
    stages = [f"layer{stage}.{number}" for stage in (1, 2, 3) for number in range(3)]
    assert [block.name for block in network.blocks] == ["conv1", *stages, "linear"]
    assert len({block.signature for block in network.blocks}) == 7
    assert sorted(network.full) == [16] * 4 + [32] * 4 + [64] * 4
    assert len(network.branches) == 9
    assert network.input_shape == (1, 3, 32, 32)


def test_a_plain_network_is_its_convolutions_with_their_pooling() -> None:
    _, network = cifar_network("vgg16")
    kinds = [[op.kind for op in block.ops] for block in network.blocks]
    assert kinds[0] == ["Conv", "Relu"]
    assert kinds[1] == ["Conv", "Relu", "MaxPool"]
    assert kinds[-3:] == [["Reshape", "Gemm", "Relu"], ["Gemm", "Relu"], ["Gemm"]]
    assert len(kinds) == 16
    assert network.droppable == frozenset()


def test_deeper_networks_need_no_other_blocks() -> None:
    shallow, deep = (cifar_network(f"resnet{n}")[1] for n in (20, 32))
    assert {b.signature for b in shallow.blocks} == {b.signature for b in deep.blocks}


def test_the_batch_is_that_of_the_example() -> None:
    assert tiny_network("vgg")[1].input_shape == (2, 3, 8, 8)


def test_functions_are_lowered_as_modules_are() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.out = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(torch.relu(self.a(x)), 3, stride=2, padding=1)
            x = F.avg_pool2d(self.b(x).relu(), 2)
            x = torch.sigmoid(x) * x
            return self.out(x.mean((2, 3)))

    network = to_network(trace(Functional().eval(), torch.zeros(1, 3, 16, 16)))
    kinds = [op.kind for block in network.blocks for op in block.ops]
    assert kinds == [
        *["Conv", "Relu", "MaxPool", "Conv", "Relu", "AveragePool"],
        *["Sigmoid", "Mul", "GlobalAveragePool", "Flatten", "Gemm"],
    ]
    assert answer(assemble(network.at(network.full)), (1, 3, 16, 16)).shape == (1, 4)
