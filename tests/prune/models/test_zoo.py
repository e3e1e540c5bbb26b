"""Names build the networks of the literature; what cannot be built says why in one line."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.models import names, zoo
from edgeprune.prune.models.zoo import ModelSpec, build, load_dense


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ],
)
def test_resnets_have_the_published_size(name: str, parameters: int) -> None:
    model = build(ModelSpec(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "convolutions", "linears"),
    [("vgg11", 8, [512, 512, 7]), ("vgg14", 13, [7]), ("vgg16", 13, [512, 512, 7])],
)
def test_vggs_end_as_documented(name: str, convolutions: int, linears: list[int]) -> None:
    model = build(ModelSpec(name, num_classes=7)).eval()
    modules = list(model.modules())
    assert sum(isinstance(module, torch.nn.Conv2d) for module in modules) == convolutions
    assert [m.out_features for m in modules if isinstance(m, torch.nn.Linear)] == linears
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "torchvision/vgg11", "resnet18"])
def test_networks_trace_with_torch_fx(name: str) -> None:
    with torch.device("meta"):  # no time is spent on random weights
        model = build(ModelSpec(name, num_classes=3))
    graph = torch.fx.symbolic_trace(model)
    assert any(node.op == "call_module" for node in graph.graph.nodes)


def test_arguments_reach_the_network() -> None:
    plain = build(ModelSpec("vgg11", kwargs={"batch_norm": False}))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    projected = build(ModelSpec("resnet20", kwargs={"shortcut": "B"}))
    assert "layer2.0.shortcut.1.weight" in projected.state_dict()


def test_same_seed_same_weights_and_the_global_generator_stays() -> None:
    before = torch.get_rng_state()
    first, second = (build(ModelSpec("resnet20"), seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.get_parameter("conv1.weight"), second.get_parameter("conv1.weight"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec("resnet21"), ["unknown model 'resnet21'", "did you mean"]),
        (ModelSpec("resnet20", kwargs={"shortcut": "Z"}), ["A, A-conv, B", "'Z'"]),
        (ModelSpec("resnet20", kwargs={"width": 2}), ["no argument 'width'", "shortcut"]),
        (ModelSpec("resnet20", num_classes=0), ["at least 1 class"]),
        (ModelSpec("not_there:make"), ["cannot import 'not_there'"]),
        (ModelSpec("os:not_there"), ["no function 'not_there'"]),
        (ModelSpec("os:getcwd"), ["returned str"]),
    ],
)
def test_what_cannot_be_built_says_why(spec: ModelSpec, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        build(spec)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_factory_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynet_of_test.py").write_text(
        "import torch\n\n\ndef tiny(num_classes, hidden=4):\n"
        "    return torch.nn.Linear(hidden, num_classes)\n\n\n"
        "def broken():\n    raise RuntimeError('no weights\\nhere')\n"
    )
    monkeypatch.chdir(tmp_path)
    model = build(ModelSpec("mynet_of_test:tiny", num_classes=3, kwargs={"hidden": 5}))
    assert model.get_parameter("weight").shape == (3, 5)
    with pytest.raises(InputError, match="RuntimeError: no weights here"):
        build(ModelSpec("mynet_of_test:broken"))


def test_every_listed_name_has_a_factory() -> None:
    assert len(set(zoo.model_names())) == len(zoo.CIFAR) + len(zoo.TORCHVISION)
    assert "torchvision/vgg16" in zoo.model_names()
    assert "resnet18" in zoo.model_names()


def test_dense_weights_load_from_the_common_wrappings(tmp_path: Path) -> None:
    source = build(ModelSpec("resnet20"), seed=9).eval()
    state = source.state_dict()
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    images = torch.randn(2, 3, 32, 32)
    for content in (state, {"state_dict": parallel, "best_prec1": 91.0}):
        torch.save(content, tmp_path / "weights.pt")
        loaded = load_dense(ModelSpec("resnet20"), tmp_path / "weights.pt").model
        assert not loaded.training
        assert torch.equal(loaded(images), source(images))


def test_dense_weights_of_another_depth_are_recognised(tmp_path: Path) -> None:
    torch.save(build(ModelSpec("resnet32")).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        InputError, match=r"weights\.pt .bare state_dict. does not fit.*--model resnet32"
    ):
        load_dense(ModelSpec("resnet20"), tmp_path / "weights.pt")


LINES = {
    "resnet20-12fca82f.th": "weights under `state_dict`, prefix `module.`, 97 of 97 tensors",
    "resnet56-jpeg-tuned.pt": "weights under `state_dict`, 277 of 277 tensors",
}


@pytest.mark.parametrize(
    ("name", "checkpoint_file"),
    [("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-jpeg-tuned.pt")],
)
def test_public_checkpoints_fit(name: str, checkpoint_file: str, shared: Path) -> None:
    loaded = load_dense(ModelSpec(name), shared / "checkpoints" / checkpoint_file)
    assert loaded.recognised == LINES[checkpoint_file]
    model = loaded.model
    assert float(model.get_parameter("linear.weight").detach().abs().sum()) > 10


def test_a_compiled_network_is_what_it_was_compiled_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeezed.py").write_text(
        "import torch\n\n\ndef net():\n    return torch.compile(torch.nn.Conv2d(3, 4, 1))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert type(build(ModelSpec("squeezed:net"))) is torch.nn.Conv2d


def test_every_classifier_of_torchvision_goes_by_its_name() -> None:
    model = build(ModelSpec("torchvision/mobilenet_v3_small", 7))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_networks_of_timm_go_by_their_names() -> None:
    pytest.importorskip("timm", reason='timm is missing: pip install "edgeprune[timm]"')
    model = build(ModelSpec("timm/lcnet_035", 7, {"in_chans": 1})).eval()
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    with pytest.raises(InputError, match="timm has no model 'lcnet_53', did you mean 'lcnet_"):
        build(ModelSpec("timm/lcnet_53"))


def test_timm_that_is_missing_is_told_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MachineError, match=r'pip install "edgeprune\[timm\]"'):
        build(ModelSpec("timm/lcnet_035"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchvision/resnet19", "torchvision has no model 'resnet19', did you mean"),
    ],
)
def test_names_that_torchvision_lacks_are_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(ModelSpec(name))


@pytest.mark.parametrize("argument", ["pretrained", "weights"])
def test_weights_are_never_downloaded_by_surprise(argument: str) -> None:
    with pytest.raises(InputError, match="would download weights; give a file with --weights"):
        build(ModelSpec("resnet18", 10, {argument: True}))


def test_the_names_that_the_shell_offers_can_be_built():
    assert set(names.CIFAR) == set(zoo.CIFAR)


def halved(module: nn.Module) -> nn.Module:
    return module.half()


def doubled(module: nn.Module) -> nn.Module:
    return module.double()


@pytest.mark.parametrize("changed", [nn.Module.train, torch.compile, halved, doubled])
def test_a_module_is_copied_as_float32_and_left_alone(changed: Callable[..., Any]) -> None:
    dense = build(ModelSpec("resnet20"))
    module = changed(dense)
    before = {name: t.clone() for name, t in dense.state_dict().items()}
    copy = zoo.copied(module)
    assert not copy.training and module.training
    assert list(copy.state_dict()) == list(before)
    assert {p.dtype for p in copy.parameters()} == {torch.float32}
    next(copy.parameters()).data.zero_()
    assert all(torch.equal(t, before[name]) for name, t in dense.state_dict().items())
    spec = zoo.instance(module)
    assert spec.name == "instance of CifarResNet"
    assert spec.is_instance and not spec.is_factory


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    module = build(ModelSpec("resnet20"))
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match="CifarResNet cannot be copied: TypeError"):
        zoo.copied(module)


def test_the_name_of_a_module_builds_nothing() -> None:
    with pytest.raises(InputError, match="unknown model 'instance of CifarResNet'"):
        build(ModelSpec("instance of CifarResNet"))


def test_a_network_of_torchvision_that_does_not_classify_is_built_without_a_download() -> None:
    spec = ModelSpec("torchvision/lraspp_mobilenet_v3_large", None, {"num_classes": 4})
    answer = build(spec).eval()(torch.zeros(1, 3, 32, 32))
    assert answer["out"].shape == (1, 4, 32, 32)
