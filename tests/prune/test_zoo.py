"""Every architecture that is promised, and the same coupling as Torch-Pruning finds.

``pytest -m zoo``, about 20 minutes on 2 quiet cores; ``-k NAME`` runs one architecture.
"""

import io
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.tracing.trace import Trace, trace

pytestmark = pytest.mark.zoo

CIFAR = {
    **{
        f"resnet{depth}-{form}": ModelSpec(f"resnet{depth}", kwargs={"shortcut": form})
        for depth in (20, 32, 44, 56, 110)
        for form in ("A", "A-conv", "B")
    },
    **{
        f"vgg{depth}-{'bn' if norm else 'plain'}": ModelSpec(
            f"vgg{depth}", kwargs={"batch_norm": norm}
        )
        for depth in (11, 14, 16, 19)
        for norm in (True, False)
    },
}
PEER_MISSING = 'compared with Torch-Pruning: pip install "edgeprune[bench]"'

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "wide_resnet50_2", "resnext50_32x4d"),
    *("vgg11", "vgg11_bn", "vgg16_bn", "mobilenet_v2", "densenet121", "shufflenet_v2_x1_0"),
    *("regnet_y_400mf", "efficientnet_b0", "squeezenet1_1", "googlenet"),
)


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A dense model by name, in evaluation mode, and a batch of two images."""
    generator = torch.Generator().manual_seed(1)
    if name in CIFAR:
        return build(CIFAR[name]).eval(), torch.randn(2, 3, 32, 32, generator=generator)
    # GoogLeNet's own initialisation takes most of a minute.
    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.get_model(name, weights=None, num_classes=10, **extra)
    return model.eval(), torch.randn(2, 3, 64, 64, generator=generator)


def distance(left: Tensor, right: Tensor) -> float:
    return float(((left - right).abs().max() / right.abs().max()).detach())


def calibrated(model: nn.Module, x: Tensor) -> nn.Module:
    """BatchNorm statistics of real activations, so that no signal dies on the way."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        model(torch.randn(16, *x.shape[1:], generator=generator))
    return model.eval()


@pytest.fixture(params=[*CIFAR, *TORCHVISION])
def zoo_net(request, enliven) -> tuple[nn.Module, Tensor]:
    model, x = network(request.param)
    return calibrated(enliven(model), x), x


def test_slim_equals_masked_counts_trains_and_exports(zoo_net, masked, random_plan):
    model, x = zoo_net
    traced = trace(model, x)
    assert not traced.unfollowed
    plan = random_plan(traced, 7, least=0.5)
    thin = slim(traced, plan, fold_constants=False)
    assert distance(thin(x), masked(traced, plan)(x)) < 1e-5
    _costs_are_exact(traced, plan, thin, x)
    _exports_with_parity(thin, x)
    _moves_to_bfloat16(slim(traced, plan), x)
    _trains_one_step(slim(traced, plan), x)
    del thin
    traced = trace(model.double(), x.double())
    for seed in (8, 9):
        plan = random_plan(traced, seed, least=0.5 if seed % 2 else 0)
        with torch.no_grad():
            expected = masked(traced, plan)(x.double())
            if seed % 2:  # a few channels of a deep network may well tell no two images apart
                assert (expected[0] - expected[1]).abs().max() > 1e-6 * expected.abs().max()
            thin = slim(traced, plan, fold_constants=False)
            assert distance(thin(x.double()), expected) < 1e-10


def _costs_are_exact(traced: Trace, plan: PruningPlan, thin: nn.Module, x: Tensor) -> None:
    cost = CostModel(traced)
    widths = np.array([[len(kept) for kept in check(plan, traced.groups)]])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        thin(x)
    assert cost.macs(widths) + cost.shortcut_macs(widths) == counter.get_total_flops() // 2 // 2
    padding = sum(m.weight.numel() for m in thin.modules() if isinstance(m, ZeroPadShortcut))
    assert cost.params(widths) + padding == sum(p.numel() for p in thin.parameters())


def _exports_with_parity(thin: nn.Module, x: Tensor) -> None:
    program = torch.onnx.export(thin, (x,), dynamo=True, verbose=False)
    content = io.BytesIO()
    program.save(content)
    session = onnxruntime.InferenceSession(content.getvalue())
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert distance(torch.from_numpy(logits), thin(x)) < 1e-4


def _moves_to_bfloat16(thin: nn.Module, x: Tensor) -> None:
    logits = thin.to(torch.bfloat16)(x.bfloat16())
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def _trains_one_step(thin: nn.Module, x: Tensor) -> None:
    thin.train()
    optimiser = torch.optim.SGD(thin.parameters(), lr=1e-3)
    F.cross_entropy(thin(x), torch.tensor([0, 1])).backward()
    optimiser.step()
    trainable = [p for p in thin.parameters() if p.requires_grad]
    assert trainable
    assert all(p.grad is not None for p in trainable)
    assert thin.eval()(x).isfinite().all()


Footprint = dict[tuple[str, str], set[int]]


def ours(traced: Trace) -> dict[tuple[str, int], Footprint]:
    """For every output channel of a layer, the channels that go with it, by layer and side."""
    modules = dict(traced.model.named_modules())
    table: dict[tuple[str, int], Footprint] = {}
    for group in traced.groups:
        for member in range(group.width):
            footprint: Footprint = {}
            for part in group.slices:
                name, _, leaf = part.tensor.rpartition(".")
                if leaf == "weight":
                    side = "in" if part.axis else "out"
                    footprint.setdefault((name, side), set()).update(
                        part.positions[member].tolist()
                    )
            for (name, side), positions in footprint.items():
                if side == "out" and isinstance(modules[name], (nn.Conv2d, nn.Linear)):
                    table.update({(name, position): footprint for position in positions})
    return table


def depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def grouped(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups > 1 and not depthwise(module)


class Peer:
    """Torch-Pruning's dependency graph of one model."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self._tp = pytest.importorskip("torch_pruning", reason=PEER_MISSING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._graph = self._tp.DependencyGraph().build_dependency(model, x)
        self._names = {module: name for name, module in model.named_modules()}

    def group(self, module: nn.Module, channel: int):
        if depthwise(module):
            prune = self._tp.prune_depthwise_conv_out_channels
        elif isinstance(module, nn.Linear):
            prune = self._tp.prune_linear_out_channels
        else:
            prune = self._tp.prune_conv_out_channels
        return self._graph.get_pruning_group(module, prune, idxs=[channel])

    def footprint(self, module: nn.Module, channel: int) -> Footprint:
        found: Footprint = {}
        for dependency, channels in self.group(module, channel):
            layer = dependency.target.module
            if layer in self._names:
                one_sided = isinstance(layer, _BatchNorm) or depthwise(layer)
                reads = self._graph.is_in_channel_pruning_fn(dependency.handler)
                side = "in" if reads and not one_sided else "out"
                found.setdefault((self._names[layer], side), set()).update(channels)
        return found


def some_channels(model: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            count = len(module.weight)
            for channel in sorted({0, count // 2, count - 1}):
                yield name, module, channel


UNGROUPED = (
    *("resnet18", "resnet34", "resnet50", "wide_resnet50_2", "vgg11", "vgg11_bn", "vgg16_bn"),
    *("mobilenet_v2", "densenet121", "efficientnet_b0", "squeezenet1_1", "googlenet"),
)


@pytest.mark.parametrize("name", UNGROUPED)
def test_the_coupling_is_that_of_torch_pruning(name):
    model, x = network(name)
    peer, table = Peer(model, x), ours(trace(model, x))
    compared, fixed = 0, set()
    for layer, module, channel in some_channels(model):
        if (layer, channel) in table:
            assert table[layer, channel] == peer.footprint(module, channel), (layer, channel)
            compared += 1
        else:
            fixed.add(layer)
    assert compared > 20
    # The one difference: the layer whose channels are the logits. Torch-Pruning prunes it too
    # unless told to ignore it; a network with fewer classes answers another question.
    assert len(fixed) == 1
    assert fixed <= {"fc", "classifier", "classifier.1", "classifier.6"}


@pytest.mark.parametrize("name", ["resnext50_32x4d", "regnet_y_400mf"])
def test_grouped_convolutions_couple_more_than_torch_pruning_says(name, masked):
    """Ours is right: a channel that Torch-Pruning's group removes alone breaks the network.

    A grouped convolution needs equally large groups. Torch-Pruning leaves that to its pruner,
    which removes the same positions in every group; its dependency group does not say so.
    """
    model, x = network(name)
    peer, table = Peer(model, x), ours(trace(model, x))
    layers = dict(model.named_modules())
    differing = 0
    for layer, module, channel in some_channels(model):
        mine = table.get((layer, channel))
        theirs = peer.footprint(module, channel)
        if mine is None or mine == theirs:
            continue
        differing += 1
        touched = {name for name, _ in {**mine, **theirs}}
        assert any(grouped(layers[name]) for name in touched), (layer, channel)
        for place, channels in theirs.items():
            if not (grouped(layers[place[0]]) and place[1] == "in"):
                assert channels <= mine[place], (layer, channel, place)
    assert differing > 20
    broken = next(m for m in model.modules() if grouped(m))
    peer.group(broken, 0).prune()
    with pytest.raises(RuntimeError, match="groups"):
        model(x)


def test_channel_shuffles_are_followed_where_torch_pruning_fails(masked, random_plan):
    """Ours is right: Torch-Pruning cannot build its graph of ShuffleNet V2 at all."""
    model, x = network("shufflenet_v2_x1_0")
    with pytest.raises(ZeroDivisionError):
        Peer(model, x)
    traced = trace(model.double(), x.double())
    plan = random_plan(traced, 0)
    assert distance(slim(traced, plan)(x.double()), masked(traced, plan)(x.double())) < 1e-10


def test_padded_shortcuts_shift_channels_which_torch_pruning_does_not_see(masked):
    """Ours is right: channel i of stage 1 is added to channel i + 8 of stage 2."""
    model, x = network("resnet20-A")
    table = ours(trace(model, x))
    assert table["layer1.0.conv2", 0]["layer2.0.conv2", "out"] == {8}
    theirs = Peer(model, x).footprint(model.layer1[0].conv2, 0)
    assert theirs.get(("layer2.0.conv2", "out")) != {8}


def test_a_missing_peer_is_told_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(pytest.skip.Exception, match=r'pip install "edgeprune\[bench\]"'):
        Peer(nn.Identity(), torch.zeros(1))
