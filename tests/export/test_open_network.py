"""Networks that are cut out of one export answer as torch's own export of the slim network."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from edgeprune.deploy.table.assemble import assemble
from edgeprune.errors import InputError
from edgeprune.export.exporter import to_onnx
from edgeprune.export.onnx_rules import CannotCutError
from edgeprune.export.open_network import OpenNetwork, open_network
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace, trace
from tests.models import NETS, Residual, draw_plan, lively, whole

Net = tuple[nn.Module, Tensor]
UNCUT = ["awkward", "resnet-pad"]  # a transposed convolution in groups; zeros for channels


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, gate: nn.Module) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)
        self.act, self.gate = nn.SiLU(), gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(self.act(self.down(x.mean((2, 3), keepdim=True)))))


def inverted(width: int, inner: int, act: nn.Module, gate: nn.Module, norm: type) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(width, inner, 1, bias=False), norm(inner), act),
        *(nn.Conv2d(inner, inner, 3, 1, 1, groups=inner, bias=False), norm(inner), act),
        Gate(inner, gate),
        *(nn.Conv2d(inner, width, 1, bias=False), norm(width)),
    )


class Skip(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Functional(nn.Module):
    """Layers as functions, weights that are standardised, a scale of each branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(12, 3, 3, 3))
        self.norm = nn.BatchNorm2d(12)
        self.b = nn.Conv2d(12, 12, 3, bias=False)
        self.gamma = nn.Parameter(torch.rand(12, 1, 1))
        self.out = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), self.a)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        weight = self.b.weight
        mean = weight.mean((1, 2, 3), keepdim=True)
        standard = (weight - mean) / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        x = x + self.gamma * F.conv2d(F.silu(x), standard, padding=1)
        return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), self.out.weight, self.out.bias)


def stem(width: int) -> list[nn.Module]:
    return [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU()]


def head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)]


def norm_of_groups(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(4, width)


def convnext() -> nn.Module:
    setting = torchvision.models.convnext.CNBlockConfig
    net = torchvision.models.ConvNeXt([setting(8, 16, 2), setting(16, None, 1)], num_classes=5)
    net.features[0][0] = nn.Conv2d(3, 8, 2, 2)
    return net


def attention() -> nn.Module:
    net = torchvision.models.VisionTransformer(8, 4, 2, 2, 16, 24, num_classes=5)
    nn.init.normal_(net.heads[0].weight)  # it is zero otherwise, and so are all answers
    return net


LARGER: dict[str, Callable[[], nn.Module]] = {
    "efficientnet": lambda: nn.Sequential(
        *stem(8), Skip(inverted(8, 16, nn.SiLU(), nn.Sigmoid(), nn.BatchNorm2d)), *head(8)
    ),
    "mobilenet-v3": lambda: nn.Sequential(
        *stem(8), Skip(inverted(8, 16, nn.Hardswish(), nn.Hardsigmoid(), nn.BatchNorm2d)), *head(8)
    ),
    "group-norm": lambda: nn.Sequential(
        *stem(8), Skip(inverted(8, 16, nn.SiLU(), nn.Sigmoid(), norm_of_groups)), *head(8)
    ),
    "convnext": convnext,
    "attention": attention,
    "functional": Functional,
}


@cache
def opened(name: str) -> tuple[OpenNetwork, Trace]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lively((NETS | LARGER)[name]()).eval()
    traced = proven(model, torch.randn(2, 3, 8, 8))
    return open_network(traced), traced


EVERY = [*sorted(NETS.keys() - set(UNCUT)), *sorted(LARGER)]


def answer(model: bytes, images: Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    return found


@pytest.mark.parametrize("name", EVERY)
def test_a_cut_network_answers_as_the_slim_one(name: str) -> None:
    network, traced = opened(name)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for plan in (whole(traced), *(draw_plan(traced, seed) for seed in range(6))):
        thin = slim(traced, plan)
        made = network.exported(thin)
        onnx.checker.check_model(made, full_check=True)
        with torch.inference_mode():
            expected = thin(images).numpy()
        found = answer(made.SerializeToString(), images)
        assert found == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("name", ["resnet", "densenet", "shufflenet", *sorted(LARGER)])
def test_a_cut_network_has_the_operators_that_torch_exports(name: str) -> None:
    network, traced = opened(name)
    thin = slim(traced, draw_plan(traced, 1))
    made, torchs = network.exported(thin), to_onnx(thin, (2, 3, 8, 8))
    kinds, expected = (Counter(node.op_type for node in m.graph.node) for m in (made, torchs))
    for each in (kinds, expected):  # a Gather of everything in its order is a Reshape
        each["Reshape"] += each.pop("Gather", 0)
    assert kinds == expected
    images = torch.randn(2, 3, 8, 8)
    found = answer(made.SerializeToString(), images)
    assert answer(torchs.SerializeToString(), images) == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_timed_has_the_operators_and_shapes_of_what_is_exported(name: str) -> None:
    network, traced = opened(name)
    plan = draw_plan(traced, 3)
    made = network.exported(slim(traced, plan))
    widths = [len(plan.kept[group.name]) for group in traced.groups]
    for block in traced.blocks:
        if not widths[block.groups[0]]:
            for group in block.groups:
                widths[group] = 0
    timed = onnx.load_from_string(assemble(network.network.at(widths)))
    nodes = [node for node in timed.graph.node if node.op_type != "ConstantOfShape"]
    assert [node.op_type for node in nodes] == [node.op_type for node in made.graph.node]
    shapes = {t.name.removesuffix(".shape"): tuple(t.int64_data) for t in timed.graph.initializer}
    weights = {t.name: tuple(t.dims) for t in made.graph.initializer}
    for here, there in zip(nodes, made.graph.node, strict=True):
        if here.op_type == "Conv":
            assert shapes[here.input[1]] == weights[there.input[1]]


@pytest.mark.parametrize(
    ("name", "reason"), [("awkward", "in groups"), ("resnet-pad", "joins channels")]
)
def test_what_cannot_be_cut_is_named(name: str, reason: str, tiny: Callable[[str], Net]) -> None:
    with pytest.raises(CannotCutError, match=reason):
        open_network(trace(*tiny(name)))


def test_weights_of_another_network_are_refused() -> None:
    def net(inner: int) -> nn.Module:
        branch = nn.Sequential(nn.Conv2d(8, inner, 3, 1, 1), nn.ReLU(), nn.Conv2d(inner, 8, 1))
        return nn.Sequential(nn.Conv2d(3, 8, 3), Residual(branch), *head(8)).eval()

    network = open_network(trace(net(6), torch.zeros(1, 3, 8, 8)))
    other = net(6)
    other[0] = nn.Conv2d(3, 9, 3)
    with pytest.raises(CannotCutError, match="channels"):
        network.exported(other)


def test_layers_keep_their_names() -> None:
    """What quantises a file, or names a layer of it, goes by the names of weights."""
    model = nn.Sequential(*stem(8), *head(8)).eval()
    traced = trace(model, torch.zeros(1, 3, 8, 8))
    plan = PruningPlan(model="m", kept={traced.groups[0].name: (0, 2, 4)})
    made = open_network(traced).exported(slim(traced, plan))
    assert {tensor.name for tensor in made.graph.initializer} >= {"0.weight", "5.weight"}
    assert all(node.name for node in made.graph.node)
    assert (made.graph.input[0].name, made.graph.output[0].name) == ("input", "logits")


def test_a_shared_layer_is_one_weight() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.one = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
            self.other, self.out = self.one, nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.other(torch.relu(self.stem(x))))
            return self.out(torch.relu(self.one(x)).mean((2, 3)))

    model, images = Twice().eval(), torch.randn(1, 3, 8, 8)
    traced = proven(model, images)
    network = open_network(traced)
    thin = slim(traced, draw_plan(traced, 1))
    with torch.inference_mode():
        expected = thin(images).numpy()
    made = network.exported(thin)
    assert answer(made.SerializeToString(), images) == pytest.approx(expected, abs=1e-5)
    assert sum(list(tensor.dims)[2:] == [1, 1] for tensor in made.graph.initializer) == 1


def test_a_model_that_was_not_traced_is_one_line() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match="edgeprune channels"):
        open_network(trace(Branching(), torch.zeros(1, 3, 8, 8)))
