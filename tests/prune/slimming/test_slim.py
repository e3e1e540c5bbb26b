import copy
import io

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, whole
from edgeprune.prune.tracing.trace import trace


def distance(left: Tensor, right: Tensor) -> float:
    return float(((left - right).abs().max() / right.abs().max()).detach())


def test_slim_equals_the_masked_dense_model(net, masked, random_plan):
    model, x = net
    traced = trace(model, x)
    for seed in range(4):
        plan = random_plan(traced, seed)
        thin = slim(traced, plan, fold_constants=False)
        expected = masked(traced, plan)(x)
        assert (expected[0] - expected[1]).abs().max() > 1e-6  # the input still matters
        assert distance(thin(x), expected) < 1e-10


def test_slim_equals_the_masked_dense_model_in_float32(net, masked, random_plan):
    model, x = net
    model, x = model.float(), x.float()
    traced = trace(model, x)
    plan = random_plan(traced, 0)
    thin = slim(traced, plan, fold_constants=False)
    assert distance(thin(x), masked(traced, plan)(x)) < 1e-5


def test_the_whole_plan_is_a_copy_that_shares_nothing(net):
    model, x = net
    thin = slim(model, whole(trace(model, x).groups, "test"), x)
    assert torch.equal(thin(x), model(x))
    mine = {t.data_ptr() for t in thin.state_dict().values() if t.numel()}
    assert mine.isdisjoint(t.data_ptr() for t in model.state_dict().values() if t.numel())
    assert set(thin.state_dict()) <= set(model.state_dict())


@pytest.fixture(scope="module")
def resnets():
    """Traces of CIFAR ResNet-20 in each form of its shortcuts, float64."""
    traces = {}
    for shortcut in ("A", "A-conv", "B"):
        model = build(ModelSpec("resnet20", kwargs={"shortcut": shortcut})).eval().double()
        traces[shortcut] = trace(model, torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    return traces


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), shortcut=st.sampled_from(["A", "A-conv", "B"]))
def test_any_plan_of_a_resnet_slims_to_the_masked_model(data, shortcut, resnets, masked, enliven):
    traced = resnets[shortcut]
    enliven(traced.model)
    kept = {
        group.name: tuple(
            data.draw(
                st.sets(st.integers(0, group.width - 1), min_size=0 if group.droppable else 1)
            )
        )
        for group in traced.groups
    }
    plan = PruningPlan(model="resnet20", kept=kept)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    thin = slim(traced, plan, fold_constants=False)
    assert distance(thin(x), masked(traced, plan)(x)) < 1e-10


@pytest.mark.parametrize("name", ["shufflenet", "resnet-pad", "mobilenet", "densenet"])
def test_batch_and_image_size_stay_free(name, tiny, masked, random_plan):
    model, _ = tiny(name)
    traced = trace(model, torch.randn(1, 3, 8, 8, dtype=torch.float64))
    plan = random_plan(traced, 0)
    thin = slim(traced, plan)
    oracle = masked(traced, plan)
    for shape in [(1, 3, 8, 8), (3, 3, 8, 8), (5, 3, 16, 12)]:
        x = torch.randn(shape, dtype=torch.float64)
        assert distance(slim(traced, plan, fold_constants=False)(x), oracle(x)) < 1e-10
        assert thin(x).shape == (shape[0], 5)


def test_all_branches_can_go(resnets):
    for shortcut, traced in resnets.items():
        plan = PruningPlan(
            model="resnet20",
            kept={g.name: () if g.droppable else (0, g.width - 1) for g in traced.groups},
        )
        thin = slim(traced, plan)
        convolutions = [m for m in thin.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == {"A": 1, "A-conv": 3, "B": 3}[shortcut]
        x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        before = x.clone()
        assert thin(x).isfinite().all()
        assert torch.equal(x, before)


def test_an_addition_that_ends_in_the_input_does_not_write_into_it():
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
            self.head = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.two(self.one(x))
            return self.head(F.relu_(y + x))

    model, x = First().eval(), torch.randn(1, 3, 4, 4)
    thin = slim(model, PruningPlan(model="first", kept={"one": ()}), x)
    before = x.clone()
    assert torch.equal(thin(x), model.head(F.relu(x)))
    assert torch.equal(x, before)


def test_zero_one_shortcuts_stay_zero_one_frozen_and_of_their_class(resnets, random_plan):
    thin = slim(resnets["A-conv"], random_plan(resnets["A-conv"], 3, drop=0))
    shortcuts = [m for m in thin.modules() if isinstance(m, ZeroPadShortcut)]
    assert len(shortcuts) == 2
    for shortcut in shortcuts:
        assert not shortcut.weight.requires_grad
        assert set(shortcut.weight.unique().tolist()) <= {0.0, 1.0}
        assert shortcut.weight.sum(0).max() <= 1


def test_mode_gradients_format_and_dtype_are_kept(tiny, random_plan):
    model, x = tiny("mobilenet")
    model = model.to(torch.bfloat16).to(memory_format=torch.channels_last)
    model.train()
    model[0].eval()
    model[0][0].weight.requires_grad_(False)
    traced = trace(model, x.bfloat16())
    thin = slim(traced, random_plan(traced, 1, drop=0))
    modules = dict(model.named_modules())
    for name, module in thin.named_modules():
        assert module.training == modules[name].training, name
    parameters = dict(model.named_parameters())
    for name, parameter in thin.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert parameter.requires_grad == parameters[name].requires_grad
        if parameter.ndim == 4 and parameter.shape[1] > 1 and parameter.shape[2] > 1:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
    assert thin(x.bfloat16()).dtype == torch.bfloat16


def test_sizes_that_layers_keep_are_right(net, random_plan):
    model, x = net
    traced = trace(model, x)
    thin = slim(traced, random_plan(traced, 2, drop=0))
    for module in thin.modules():
        if isinstance(module, nn.Conv2d):
            expected = (module.out_channels, module.in_channels // module.groups)
            assert tuple(module.weight.shape[:2]) == expected
        elif isinstance(module, nn.Linear):
            assert tuple(module.weight.shape) == (module.out_features, module.in_features)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.numel() == module.num_features


def test_a_slim_model_trains_one_step(net, random_plan):
    model, x = net
    traced = trace(model, x)
    thin = slim(traced, random_plan(traced, 5)).train()
    before = copy.deepcopy(thin.state_dict())
    optimiser = torch.optim.SGD(thin.parameters(), lr=0.1)
    F.cross_entropy(thin(x), torch.tensor([0, 1])).backward()
    optimiser.step()
    assert all(p.grad is not None for p in thin.parameters() if p.requires_grad)
    assert any(not torch.equal(before[k], v) for k, v in thin.state_dict().items())


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(20, 400), nn.Linear(400, 400)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.one(x), 0.5, self.training)
        return F.dropout(self.two(self.drop(x)), p=0.5, training=self.training, inplace=True)


@pytest.mark.parametrize("trained", [False, True])
def test_functional_dropout_follows_train_and_eval(trained):
    model, x = Dropping().train(trained), torch.randn(4, 20)
    plan = PruningPlan(model="dropping", kept={"one": tuple(range(0, 400, 2))})
    thin = slim(model, plan, x)
    assert thin.training == trained
    for module in (thin, copy.deepcopy(thin)):
        module.train()
        share = (module(x) == 0).double().mean().item()
        assert 0.4 < share < 0.6
        module.eval()
        assert (module(x) != 0).all()
        assert torch.equal(module(x), module(x))


def test_shared_modules_and_tied_weights_stay_shared():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 1)
            self.one, self.two = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
            self.two.weight = self.one.weight
            self.head = nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.two(self.one(self.stem(x))))

    model, x = Tied().eval(), torch.randn(2, 3, 4, 4)
    traced = trace(model, x)
    assert [group.width for group in traced.groups] == [6]
    kept = {traced.groups[0].name: (0, 2, 5)}
    thin = slim(traced, PruningPlan(model="tied", kept=kept))
    assert thin.two.weight is thin.one.weight
    assert thin.one.weight.shape == (3, 3, 1, 1)


def test_a_module_under_two_names_is_one_module(tiny, random_plan):
    model, x = tiny("awkward")
    traced = trace(model, x)
    thin = slim(traced, random_plan(traced, 0))
    reloaded = slim(traced, random_plan(traced, 0))
    reloaded.load_state_dict(thin.state_dict())
    assert torch.equal(reloaded(x), thin(x))


def unpadded() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.SiLU(),
        nn.Conv2d(24, 24, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.MaxPool2d(2),
        nn.Conv2d(24, 12, 1, groups=2, bias=False), nn.BatchNorm2d(12), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(12 * 9, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5),
    )  # fmt: skip


def test_folded_constants_equal_the_dense_model_with_batchnorm_weights_at_zero(
    masked, random_plan, enliven
):
    model = enliven(unpadded()).eval().double()
    x = torch.randn(2, 3, 10, 10, dtype=torch.float64)
    traced = trace(model, x)
    for seed in range(4):
        plan = random_plan(traced, seed)
        expected = masked(traced, plan, biases=False)(x)
        assert distance(slim(traced, plan)(x), expected) < 1e-10
        assert distance(slim(traced, plan, fold_constants=False)(x), expected) > 1e-4


def test_constants_of_a_residual_stream_reach_the_last_layer(masked, enliven):
    # Every convolution that reads the stream is dropped or pads, so only the head can fold.
    model = build(ModelSpec("resnet20", kwargs={"shortcut": "A-conv"}))
    model = enliven(model).eval().double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    traced = trace(model, x)
    kept = {
        g.name: () if g.block and g.name != "layer3.2.conv1" else tuple(range(g.width))
        for g in traced.groups
    }
    plan = PruningPlan(model="resnet20", kept={**kept, "layer3": tuple(range(0, 64, 2))})
    expected = masked(traced, plan, biases=False)
    with torch.no_grad():
        # A padded convolution does not fold: there, removed channels count as zero.
        expected.layer3[2].conv1.weight[:, 1::2] = 0
        thin, bare = slim(traced, plan), slim(traced, plan, fold_constants=False)
        assert distance(thin(x), expected(x)) < 1e-10
        assert distance(bare(x), expected(x)) > 1e-4


def test_folding_leaves_the_dense_model_and_unpruned_layers_alone(tiny, random_plan):
    model, x = tiny("densenet")
    before = copy.deepcopy(model.state_dict())
    traced = trace(model, x)
    slim(traced, random_plan(traced, 0))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    whole_plan = whole(traced.groups, "densenet")
    assert all(torch.equal(before[k], v) for k, v in slim(traced, whole_plan).state_dict().items())


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"0": (0, 0)}, "keeps a channel of group '0' twice"),
        ({"0": (0, 8)}, "channel 8 of group '0', which has channels 0 to 7"),
        ({"0": ()}, "keeps nothing of group '0', which cannot be dropped"),
        ({}, "lacks group '0'"),
        ({"0": (1,), "layer9": (0,)}, "names group 'layer9', not in this model"),
    ],
)
def test_a_plan_that_does_not_fit_names_the_group(kept, message):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)).eval()
    with pytest.raises(InputError, match=message):
        slim(model, PruningPlan(model="other", kept=kept), torch.randn(1, 3, 4, 4))


def test_a_model_without_an_example_cannot_be_slimmed():
    with pytest.raises(InputError, match="example input"):
        slim(nn.Conv2d(3, 2, 1), PruningPlan(model="x", kept={}))


@pytest.mark.parametrize("name", ["resnet-pad", "shufflenet"])
def test_a_slim_model_exports_to_onnx_with_parity(name, tiny, random_plan):
    model, x = tiny(name)
    model, x = model.float(), x.float()
    traced = trace(model, x)
    thin = slim(traced, random_plan(traced, 1))
    program = torch.onnx.export(thin, (x,), dynamo=True, verbose=False)
    content = io.BytesIO()
    program.save(content)
    session = onnxruntime.InferenceSession(content.getvalue())
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.allclose(logits, thin(x).detach().numpy(), atol=1e-5)


def test_the_batch_stays_free_where_whole_channels_lie_beside_it() -> None:
    class Patches(nn.Module):
        """Channels that are moved to the batch axis, as MobileViT does, and so stay."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1)
            self.head = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            n, c, h, w = x.shape
            x = x.reshape(n * c * h // 2, 2, w // 2, 2).transpose(1, 2).reshape(n, c, h, w)
            return self.head(F.relu(self.last(x)).mean((2, 3)))

    traced = trace(Patches().eval(), torch.randn(2, 3, 4, 4))
    assert [g.name for g in traced.groups] == ["last"]
    plan = PruningPlan(model="test", kept={"last": (0, 2)})
    assert slim(traced, plan)(torch.randn(1, 3, 4, 4)).shape == (1, 4)
