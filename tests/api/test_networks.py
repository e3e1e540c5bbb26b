import re
import subprocess
import sys

import pytest
import torch

import edgeprune
from edgeprune.errors import InputError
from edgeprune.prune.models import checkpoint, zoo
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.saliency import criteria
from edgeprune.prune.tracing.trace import trace

EXAMPLE = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope="module")
def dense():
    return zoo.build(zoo.ModelSpec("resnet20"), seed=1).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("call", ["load('a.pt')", "slim(None, None, ratio=0.5)"])
def test_without_torch_it_says_what_to_install(call):
    code = "import sys; sys.modules['torch'] = None\nimport edgeprune\n"
    code += f"try: edgeprune.{call}\nexcept edgeprune.errors.MachineError as e: print(e)"
    said = f"edgeprune.{call.partition('(')[0]} needs torch, which is not installed: pip install"
    assert python(code).startswith(said)


def test_a_share_is_rounded_up_to_blocks_and_the_model_is_left_alone(dense):
    before = {name: t.clone() for name, t in dense.state_dict().items()}
    small = edgeprune.slim(dense, EXAMPLE, ratio=0.4)
    # 16, 32 and 64 channels: 6.4, 12.8 and 25.6 are 8, 16 and 32.
    assert [small.get_submodule(f"layer{n}.0.conv1").out_channels for n in (1, 2, 3)] == [
        8,
        16,
        32,
    ]
    assert small(EXAMPLE).shape == (1, 10)
    assert all(torch.equal(t, before[name]) for name, t in dense.state_dict().items())


def test_without_images_the_largest_filters_stay(dense):
    small = edgeprune.slim(dense, EXAMPLE, widths={"layer1.0.conv1": 5})
    groups = trace(dense, EXAMPLE).groups
    saliency = dict(zip([g.name for g in groups], criteria.l1(trace(dense, EXAMPLE)), strict=True))
    kept = saliency["layer1.0.conv1"].topk(5).indices.sort().values
    weight = dense.layer1[0].conv1.weight[kept]
    assert torch.equal(small.get_submodule("layer1.0.conv1").weight, weight)
    assert small.get_submodule("layer1.1.conv1").out_channels == 16


def test_with_images_the_wavelet_order_decides(dense, images):
    name = "layer1.0.conv1"
    found = {
        order: edgeprune.slim(dense, EXAMPLE, widths={name: 6}, images=images, order=order)
        for order in (None, "wavelet", "l1")
    }
    weights = {order: net.get_submodule(name).weight for order, net in found.items()}
    assert torch.equal(weights[None], weights["wavelet"])
    assert not torch.equal(weights["wavelet"], weights["l1"])


def test_what_is_kept_stays_and_only_what_is_named_goes(dense):
    small = edgeprune.slim(dense, EXAMPLE, ratio=0.5, keep="layer2.0.conv2")
    assert small.get_submodule("layer2.1.conv2").out_channels == 32  # coupled with it
    assert small.get_submodule("layer2.1.conv1").out_channels == 16
    small = edgeprune.slim(dense, EXAMPLE, ratio=0.5, only=["layer3.*.conv1"])
    found = {name: layer.out_channels for name, layer in small.named_modules() if "conv" in name}
    assert {name for name in found if found[name] < dense.get_submodule(name).out_channels} == {
        f"layer3.{block}.conv1" for block in range(3)
    }


def test_width_0_drops_a_branch(dense):
    small = edgeprune.slim(dense, EXAMPLE, widths={"layer1.1.conv1": 0})
    assert not [n for n, _ in small.named_modules() if n.startswith("layer1.1.conv")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "one of widths= "),
        ({"ratio": 0.5, "widths": {}}, "one of widths= "),
        ({"ratio": 50.0}, "ratio = 50 is no share"),
        ({"ratio": 0.0}, "ratio = 0 is no share"),
        ({"widths": {"layer1.0.conv": 8}}, "did you mean 'layer1.0.conv1'"),
        ({"widths": {"layer1.0.conv1": 17}}, "takes 0 to 16 channels, not 17"),
        ({"ratio": 0.5, "order": "wavelet"}, "pass images= or order='l1'"),
        ({"ratio": 0.5, "order": "bn"}, "unknown order 'bn'"),
        ({"ratio": 0.5, "keep": "layr1.*"}, "near it: layer1.2, layer1.1, layer1.0"),
        ({"ratio": 0.5, "only": ["layer2.0.conv2"]}, "leave nothing to prune"),
        (
            {"widths": {"layer2": 8}, "keep": "layer2.0.conv2"},
            "group 'layer2' stays whole: keep names layer2.0.conv2, coupled with layer2.1.conv2",
        ),
        ({"widths": {"layer1.1.conv1": 0}, "keep": "layer1.1.conv2"}, "takes 1 to 16 channels"),
        ({"ratio": 0.5, "images": torch.zeros(3, 32, 32)}, "images must be (N, C, H, W)"),
    ],
)
def test_what_cannot_be_meant_is_one_line(dense, options, said):
    with pytest.raises(InputError, match=re.escape(said)):
        edgeprune.slim(dense, EXAMPLE, **options)


def test_a_checkpoint_is_loaded_and_code_is_not_run_unasked(dense, tmp_path):
    record = {"plan": None, "state_dict": dense.state_dict(), "input_shape": (3, 32, 32)}
    record |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "classes": tuple("0123456789")}
    kwargs = {"num_classes": 10}
    checkpoint.write(tmp_path / "a.pt", Checkpoint(model="resnet20", kwargs=kwargs, **record))
    checkpoint.write(tmp_path / "b.pt", Checkpoint(model="mine:net", kwargs=kwargs, **record))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(edgeprune.load(tmp_path / "a.pt")(x), dense(x))
    with pytest.raises(InputError, match="your own code"):
        edgeprune.load(str(tmp_path / "b.pt"))
