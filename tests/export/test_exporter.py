"""torch in, ONNX out: the same answers, the same bytes, nothing of this machine inside."""

import copy
import getpass
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgeprune.deploy.artifact import parity_samples
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.errors import InputError, PromiseError
from edgeprune.export import exporter
from edgeprune.prune.models.shortcuts import PadShortcut, rewrite_shortcuts
from edgeprune.target import Runtime

SHAPE = (1, 3, 8, 8)
USER = "zaphod_beeblebrox"


class Tiny(nn.Module):
    """A residual net with an option-A shortcut, a grouped convolution and a linear chain."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4)
        self.bn2 = nn.BatchNorm2d(16)
        self.shortcut = PadShortcut(8, 16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout()
        self.hidden = nn.Linear(16, 12)
        self.linear = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.stem(x)))
        x = torch.relu(self.bn2(self.conv(x)) + self.shortcut(x))
        x = self.drop(torch.flatten(self.pool(x), 1))
        return self.linear(torch.relu(self.hidden(x)))


def tiny(channels: int = 3) -> Tiny:
    """Weights and BatchNorm statistics as after training, in training mode."""
    generator = torch.Generator().manual_seed(0)
    model = Tiny(channels)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.rand(tensor.shape, generator=generator) + 0.1
                tensor.copy_(drawn if "bn" in name else drawn - 0.6)
    return model


def images(count: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(count, *shape[1:], generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return exporter.to_onnx(tiny(), SHAPE)


def layers(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def test_the_file_is_a_plain_inference_graph(proto):
    onnx.checker.check_model(proto, full_check=True)
    assert [o.version for o in proto.opset_import] == [20]
    assert proto.ir_version <= 10
    assert [v.name for v in proto.graph.input] == ["input"]
    assert [v.name for v in proto.graph.output] == ["logits"]
    assert layers(proto).count("Conv") == 3
    kinds = {"Conv", "Relu", "Add", "GlobalAveragePool", "Reshape", "Flatten", "Gemm"}
    assert set(layers(proto)) <= kinds
    assert not any(w.external_data for w in proto.graph.initializer)


def test_the_file_keeps_the_names_of_the_weights(proto):
    names = {w.name for w in proto.graph.initializer}
    assert {"stem.weight", "conv.weight", "hidden.weight", "shortcut.weight"} <= names


@pytest.mark.parametrize(("dtype", "training"), [(torch.bfloat16, True), (torch.float64, False)])
def test_the_model_is_left_as_it_is(dtype, training, proto):
    model = tiny().to(dtype).train(training)
    model.stem.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    exported = exporter.to_onnx(model, SHAPE)
    exporter.parity(model, exported.SerializeToString(), images(3))
    assert model.training is training
    assert isinstance(model.shortcut, PadShortcut)
    assert not model.stem.weight.requires_grad
    assert model.conv.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    assert (exported == proto) is (dtype == torch.float64)


def test_parity_holds_and_is_reported(proto):
    report = exporter.parity(tiny(), proto.SerializeToString(), images(7))
    assert report.passed
    assert report.images == 7
    assert report.top1_agreement == 1
    assert report.max_abs < 1e-5
    assert report.sqnr_db > 100


def test_parity_reads_a_file_too(proto, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    assert exporter.parity(tiny(), path, images(2)).passed


def test_padded_and_rewritten_shortcuts_give_the_same_file(proto):
    assert exporter.to_onnx(rewrite_shortcuts(tiny()), torch.randn(SHAPE)) == proto


def test_a_batch_is_fixed_unless_asked_for():
    fixed = exporter.to_onnx(tiny(), (2, 3, 8, 8))
    assert fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    free = exporter.to_onnx(tiny(), (3, 8, 8), dynamic_batch=True)
    assert free.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    session = open_session(free.SerializeToString(), Runtime())
    assert [len(session.run(images(n).numpy())) for n in (1, 2, 5)] == [1, 2, 5]
    assert exporter.parity(tiny(), free.SerializeToString(), images(5)).passed


def test_an_opset_is_written_as_asked_or_refused():
    older = exporter.to_onnx(tiny(), SHAPE, opset=18)
    assert [o.version for o in older.opset_import] == [18]
    assert exporter.parity(tiny(), older.SerializeToString(), images(3)).passed
    with pytest.raises(InputError, match="not 11; take 20 or 18"):
        exporter.to_onnx(tiny(), SHAPE, opset=11)


def test_grey_images_and_nothing_printed_or_warned(capfd, caplog):
    exported = exporter.to_onnx(tiny(1), (1, 8, 8))
    assert exporter.parity(tiny(1), exported.SerializeToString(), images(2, (1, 1, 8, 8))).passed
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_only_the_exporters_own_log_lines_are_kept_back(monkeypatch, caplog):
    real = torch.onnx.export

    def chatty(*args, **kwargs):
        for name in ("onnxscript.rewriter", "onnx_ir.passes", "elsewhere"):
            logging.getLogger(name).error("from %s", name)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.onnx, "export", chatty)
    exporter.to_onnx(tiny(), SHAPE)
    assert [r.name for r in caplog.records if r.levelno >= logging.ERROR] == ["elsewhere"]
    assert logging.getLogger("onnxscript").level == logging.NOTSET


_SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
from test_exporter import SHAPE, tiny
from edgeprune.export.exporter import to_onnx
sys.stdout.buffer.write(to_onnx(tiny(), SHAPE).SerializeToString(deterministic=True))
"""


def test_another_process_writes_the_same_bytes_and_no_path(tmp_path, proto):
    here = str(Path(__file__).parent)
    home = tmp_path / USER
    home.mkdir()
    names = {"HOME": str(home), "USER": USER, "LOGNAME": USER, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", _SCRIPT, here, str(torch.get_num_threads() + 1)]
    env = {**os.environ, **names}
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, check=False)
    assert done.stdout == proto.SerializeToString(deterministic=True), done.stderr.decode()
    for trace in (USER, str(tmp_path), here, str(Path.home()), "site-packages", ".py"):
        assert trace.encode() not in done.stdout, trace
    if len(getpass.getuser()) > 4:
        assert getpass.getuser().encode() not in done.stdout


class TwoAnswers(Tiny):
    def forward(self, x):
        return super().forward(x), x


class Counted(Tiny):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits.argmax(1)


class Unexportable(Tiny):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) == 0 else self.linear(x)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (tiny(), (1, 1, 8, 8), r"\(1, 1, 8, 8\) does not fit the model"),
        (tiny(), (8, 8), "is not"),
        (tiny(), (1, 3, 0, 8), "is not"),
        (Counted(), SHAPE, "output '1' of the model is of torch.int64"),
        (Unexportable(), SHAPE, "cannot be exported"),
        (nn.Bilinear(3, 3, 3), SHAPE, "does not fit the model"),
        (nn.Sequential(nn.LazyConv2d(4, 3)), SHAPE, "lazy layers"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), SHAPE, "layer 0 normalises"),
    ],
)
def test_what_cannot_be_exported_is_one_line(model, shape, message, capfd):
    with pytest.raises(InputError, match=message) as error:
        exporter.to_onnx(model, shape)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("layer", ["stem", "conv", "shortcut", "hidden", "linear"])
def test_a_failed_parity_names_the_first_wrong_layer(proto, layer):
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(proto)
    [weight] = [w for w in spoilt.graph.initializer if w.name == f"{layer}.weight"]
    wrong = numpy_helper.to_array(weight) * 1.5
    weight.CopyFrom(numpy_helper.from_array(wrong.astype(np.float32), weight.name))
    with pytest.raises(PromiseError, match=f"parity failed.*first at layer {layer};") as error:
        exporter.parity(tiny(), spoilt.SerializeToString(), images(3))
    assert "\n" not in str(error.value)


def test_parity_without_images_is_refused(proto):
    with pytest.raises(InputError, match="at least one image"):
        exporter.parity(tiny(), proto.SerializeToString(), images(0))


def test_parity_samples_are_what_the_file_answers(proto):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
    samples = exporter.parity_samples(tiny().bfloat16().float(), pixels, (8, 8), mean, std)
    x = parity_samples.network_input(samples.pixels, (8, 8), mean, std)
    with torch.inference_mode():
        wanted = tiny().bfloat16().float().eval()(torch.from_numpy(x))
    assert np.allclose(samples.logits, wanted.numpy(), rtol=1e-5, atol=1e-5)
    assert np.array_equal(samples.pixels, pixels)
