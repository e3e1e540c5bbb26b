"""Real searches from Python, small: a module and Datasets in, a run folder out."""

import html
import json
import sys

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgeprune
from edgeprune.cli.main import main
from edgeprune.errors import InputError
from edgeprune.prune.models import checkpoint
from edgeprune.run import passed

PROFILE = """
schema = 1
name = "here"
[channels]
grid = [16, 32, 48]
[measure]
max_seconds = 2
[budget.relative]
latency = 0.8
"""


class Net(nn.Module):
    """Two convolutions; its code lies in no module that a checkpoint could name."""

    def __init__(self, classes=2, width=48):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 2)
        return self.fc(self.bn2(self.conv2(x)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def images():
    """Digits 0 and 1, float in [0, 1], (N, 3, 16, 16), and their labels."""
    scans = load_digits()
    chosen = torch.from_numpy(scans.target) < 2
    pixels = torch.from_numpy(scans.images)[chosen].float().div(16).unsqueeze(1)
    return F.interpolate(pixels, 16).repeat(1, 3, 1, 1), torch.from_numpy(scans.target)[chosen]


@pytest.fixture(scope="module")
def data(images):
    pixels, labels = images
    train, test = (
        TensorDataset(pixels[part], labels[part]) for part in (slice(240), slice(240, None))
    )
    return DataLoader(train, batch_size=32, shuffle=True, drop_last=True), test


@pytest.fixture(scope="module")
def module(images):
    """Trained on what the loader gives, left in training mode."""
    torch.manual_seed(0)
    net, (pixels, labels) = Net(), images
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(pixels[:240]), labels[:240]).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "here.toml").write_text(PROFILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


OPTIONS = {"target": "here.toml", "strategy": "uniform", "epochs": 0, "flip": False, "out": "run"}


@pytest.fixture(scope="module")
def found(here, module, data):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run = edgeprune.search(module, data, **OPTIONS)
    assert module.training
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    return run


def test_a_module_becomes_a_slim_one_with_a_verdict(found, images):
    assert not found.model.training
    assert found.model.conv1.out_channels < 48
    pixels, labels = images
    with torch.no_grad():
        right = found.model(pixels[240:]).argmax(1) == labels[240:]
    assert {row.name: row for row in found.rows}["accuracy"].slim == pytest.approx(
        100 * right.float().mean().item()
    )
    assert found.exit_code == found.report.exit_code
    assert "latency" in [verdict.name for verdict in found.report.verdicts]
    assert any("instance of Net, passed in Python" in note for note in found.notes)


def test_the_records_say_what_it_was_made_from(found):
    request = json.loads((found.folder / "run.json").read_text())["request"]
    assert request["model"]["name"] == "instance of Net"
    assert request["source"] == "in memory: TensorDataset (not mirrored)"
    assert request["normalisation"] == {"mean": [0, 0, 0], "std": [1, 1, 1]}
    page = (found.folder / "report.html").read_text("utf-8")
    assert "edgeprune.search(model, data, flip=False, target=" in html.unescape(page)
    record = checkpoint.read(found.folder / "model.pt")
    assert (record.model, record.classes) == ("instance of Net", ("0", "1"))
    assert "passed in Python with 16x16 pixels" in record.history["resize"]


def test_the_model_is_loaded_into_the_same_module_alone(found, images):
    path = found.folder / "model.pt"
    with pytest.raises(InputError, match=r"it holds the weights, not the code.*into=module"):
        edgeprune.load(path)
    with pytest.raises(InputError, match="into=module"):
        edgeprune.load(path, trust_factory=True)
    with pytest.raises(InputError, match="does not fit the model"):
        edgeprune.load(path, into=Net(classes=3))
    with torch.no_grad():
        answers = edgeprune.load(path, into=Net())(images[0])
        torch.testing.assert_close(answers, found.model(images[0]))


def test_the_onnx_file_is_made_again_from_the_same_module(found):
    path, out = found.folder / "model.pt", found.folder / "again.onnx"
    with pytest.raises(InputError, match=r"edgeprune\.export_onnx\(path, into=module\)"):
        edgeprune.export_onnx(path, out)
    shipped = edgeprune.export_onnx(path, out, into=Net(), parity_images=0)
    assert (shipped.path, shipped.input_shape, shipped.images_inside) == (out, (1, 3, 16, 16), 0)
    assert shipped.parity.passed
    with pytest.raises(InputError, match="exists"):
        edgeprune.export_onnx(path, out, into=Net())


def test_a_run_is_resumed_with_the_same_module_and_images(found, module, data):
    again = edgeprune.search(module, data, **OPTIONS, resume=True)
    assert again.rows == found.rows
    with pytest.raises(InputError, match=r"recovery\.epochs was 0, now it is 1"):
        edgeprune.search(module, data, **OPTIONS | {"epochs": 1}, resume=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export run/model.pt -o other.onnx", "edgeprune.export_onnx(path, into=module)"),
        ("finetune run/model.pt --data digits", "edgeprune.load(path, into=module)"),
        (
            "search --target here.toml --out run --resume",
            "edgeprune.search(model, data, ..., out='run'",
        ),
    ],
)
def test_commands_say_that_python_goes_on(found, monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["edgeprune", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def blank():
    """A network that gives every image the same answer, whatever was drawn before."""
    net = Net()
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    return net


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": 3}, "model is a int; give a name"),
        ({"model": "resnet20", "weights": "none.pt"}, "none.pt"),
        ({"weights": "w.pt"}, "weights= goes with a model that is named"),
        ({"data": "digits"}, "flip= goes with images that are passed"),
        ({"image_size": 32}, "have 16x16 pixels; leave it out"),
        ({"strategy": "jiont"}, "did you mean 'joint'"),
        ({"max_latency_ratio": 70}, "max_latency_ratio = 70 is no ratio"),
        ({"target": "mobil-cpu"}, "did you mean 'mobile-cpu'"),
        (
            {"model": Net(classes=3)},
            r"Net has 3 outputs, in memory: TensorDataset .* has 2 classes",
        ),
        ({"model": blank()}, "near chance"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_leaves_no_folder(here, module, data, changes, said):
    asked = {"model": module, "data": data, **OPTIONS, "out": "other", **changes}
    with pytest.raises(InputError, match=said):
        edgeprune.search(**asked)
    assert not (here / "other").exists()


def test_images_of_any_number_of_channels_reach_the_search(here, images, monkeypatch):
    pixels, labels = images
    six = TensorDataset(pixels.repeat(1, 2, 1, 1), labels)
    module = nn.Sequential(
        nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    asked = []

    def stop(request, progress, given):
        asked.append((request, given))
        raise InputError("stopped")

    monkeypatch.setattr(passed, "run_search", stop)
    stated = {"mean": (0.0,) * 6, "std": (1.0,) * 6}
    with pytest.raises(InputError, match="stopped"):
        edgeprune.search(module, (six, six), **OPTIONS, **stated)
    ((request, given),) = asked
    assert request.normalisation.channels == 6
    assert given.images.input_shape == (6, 16, 16)
    with pytest.raises(InputError, match="takes images of 6 channels; give --mean and --std"):
        edgeprune.search(module, (six, six), **OPTIONS)
