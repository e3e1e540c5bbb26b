"""int8 out of a checkpoint: two files, proven; or one line says why not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgeprune.deploy.artifact import parity, seal
from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.errors import InputError, PromiseError
from edgeprune.export import number_format
from edgeprune.export.checkpoint_file import export_checkpoint
from edgeprune.export.file_options import FileOptions
from edgeprune.export.int8_request import Int8Request
from edgeprune.prune.images import calibration_set, datasets
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.target import Runtime, load_target
from tests.images import grey_noise

INT8 = {"mode": "int8", "calibration_images": 16, "exclude": "none"}  # no clock decides


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network whose answers differ from image to image."""
    torch.manual_seed(0)
    record = Checkpoint(
        model="resnet20",
        kwargs={"num_classes": 10},
        plan=None,
        state_dict=build(ModelSpec("resnet20", 10)).state_dict(),
        input_shape=(3, 32, 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        classes=tuple("0123456789"),
        history={"macs": 1, "params": 2, "accuracy_slim": 0.5, "data": "digits"},
        images=grey_noise(2, side=32).pixels,
    )
    path = tmp_path_factory.mktemp("int8") / "model.pt"
    checkpoint.write(path, record)
    return path


@pytest.fixture(scope="module")
def target(model: Path) -> str:
    """A profile that does not ask untrained networks to agree on classes."""
    path = model.with_name("t.toml")
    path.write_text('schema = 1\nname = "t"\n[parity]\nagreement = 0\nsqnr_db = 10\n')
    return str(path)


def options(**more: Any) -> FileOptions:
    return FileOptions(precision=INT8, **more)


@pytest.fixture(scope="module")
def shipped(model: Path, target: str) -> Any:
    return export_checkpoint(model, target=target, options=options(int8=Int8Request()))


def test_an_int8_file_and_its_twin(shipped: Any, model: Path) -> None:
    twin = model.with_name("model-fp32.onnx")
    found, plain = seal.verify(shipped.path), seal.verify(twin)
    assert (found.precision, plain.precision, plain.quantisation) == ("int8", "fp32", None)
    assert found.quantisation is not None
    assert found.quantisation.twin_sha256 == seal.file_sha256(twin)
    assert found.quantisation.calibration_images == 16
    assert found.quantisation.integer_convolutions == 21
    assert found.quantisation.float_convolutions == ()
    assert shipped.bytes < 0.4 * twin.stat().st_size
    # These images did not judge the checkpoint, so the float network's accuracy is not promised.
    assert found.accuracy_slim is None
    assert "21 of 21 convolutions run on integers" in shipped.said[0]


def test_it_answers_the_images_inside_as_int8_does(shipped: Any, target: str) -> None:
    file = read(shipped.path)
    report = parity.replay(file, seal.verify(shipped.path), load_target(target), Local())
    assert report.max_abs < 1e-5
    images = [np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)]
    int8, fp32 = (
        open_session(path, Runtime()).run(images[0])
        for path in (shipped.path, shipped.path.with_name("model-fp32.onnx"))
    )
    assert 0 < np.abs(int8 - fp32).max() < np.abs(fp32).max()


def test_the_same_inputs_give_the_same_bytes(shipped: Any, model: Path, target: str) -> None:
    again = model.with_name("again.onnx")
    export_checkpoint(model, again, target, options=options(int8=Int8Request()))
    assert again.read_bytes() == shipped.path.read_bytes()


def test_a_poked_weight_fails_its_own_images(shipped: Any, target: str, tmp_path: Path) -> None:
    proto = onnx.load(shipped.path)
    record = seal.verify(shipped.path)
    weight = next(t for t in proto.graph.initializer if t.name == "linear.weight_quantized")
    weight.raw_data = bytes(len(weight.raw_data))
    seal.write(tmp_path / "m.onnx", proto, record)
    with pytest.raises(PromiseError, match="answers its own parity samples wrongly"):
        parity.replay(read(tmp_path / "m.onnx"), record, load_target(target), Local())


def test_a_list_of_calibration_images_is_taken_again(
    shipped: Any, model: Path, target: str, tmp_path: Path
) -> None:
    record = checkpoint.read(model)
    normal = datasets.Normalisation(record.mean, record.std)
    listed, _ = calibration_set.drawn(datasets.load("digits", normalisation=normal), 16)
    path = tmp_path / "list.json"
    path.write_bytes(listed.to_json())
    asked = options(int8=Int8Request(calibration=str(path)))
    export_checkpoint(model, tmp_path / "m.onnx", target, options=asked)
    found, first = seal.verify(tmp_path / "m.onnx"), seal.verify(shipped.path)
    assert found.quantisation == first.quantisation
    other = listed.model_copy(update={"sha256": "0" * 64})
    path.write_bytes(other.to_json())
    with pytest.raises(InputError, match="are not those of the list"):
        export_checkpoint(model, tmp_path / "n.onnx", target, options=asked)
    assert not (tmp_path / "n.onnx").exists()


def test_a_network_of_other_images_needs_them(model: Path, target: str, tmp_path: Path) -> None:
    record = checkpoint.read(model)
    history = {**record.history, "data": "cats"}
    checkpoint.write(tmp_path / "model.pt", replace(record, history=history))
    with pytest.raises(InputError, match="give those of cats with --data"):
        export_checkpoint(tmp_path / "model.pt", target=target, options=options())
    checkpoint.write(
        tmp_path / "model.pt",
        replace(record, classes=("a", "b"), kwargs={"num_classes": 2}, state_dict=_of(2)),
        overwrite=True,
    )
    with pytest.raises(InputError, match="digits has 10 classes, the network 2"):
        export_checkpoint(tmp_path / "model.pt", target=target, options=options())


def test_a_file_that_is_not_faster_is_refused(
    model: Path, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missed(path: Path, *_: Any) -> str:
        raise PromiseError(f"{path} is not faster than the same network in fp32")

    monkeypatch.setattr(number_format, "refuse_no_gain", missed)
    with pytest.raises(PromiseError, match="not faster"):
        export_checkpoint(model, tmp_path / "m.onnx", target, options=options())


def test_too_few_integers_are_refused_and_nothing_is_written(
    model: Path, target: str, tmp_path: Path
) -> None:
    asked = FileOptions(precision={**INT8, "exclude": ("conv1", "layer1.*")})
    with pytest.raises(PromiseError, match="of 21 convolutions run on integers; in float: "):
        export_checkpoint(model, tmp_path / "m.onnx", target, options=asked)
    assert not list(tmp_path.iterdir())


def _of(classes: int) -> Any:
    return build(ModelSpec("resnet20", classes)).state_dict()
