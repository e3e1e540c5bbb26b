"""A model.pt becomes a sealed file, or one line says why not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.artifact import seal
from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.gate.accuracy import accuracy
from edgeprune.errors import InputError, PromiseError
from edgeprune.export import sealed_file
from edgeprune.export.sealed_file import export_checkpoint
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.zoo import ModelSpec, build
from tests.images import grey_noise

RECORD = Checkpoint(
    model="resnet20",
    kwargs={"num_classes": 3},
    plan=None,
    state_dict=build(ModelSpec("resnet20", num_classes=3)).state_dict(),
    input_shape=(3, 32, 32),
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    classes=("a", "b", "c"),
    history={"macs": 1, "params": 2, "accuracy_dense": 0.5},
    images=grey_noise(2, side=32).pixels,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    checkpoint.write(tmp_path / "model.pt", RECORD)
    return tmp_path / "model.pt"


def test_the_file_says_what_it_is(model: Path) -> None:
    shipped = export_checkpoint(model, target="x86-gateway")
    assert shipped.path == model.with_name("model.onnx")
    assert shipped.sha256 == seal.file_sha256(shipped.path)
    assert shipped.bytes == shipped.path.stat().st_size
    assert (shipped.input_shape, shipped.parity.passed) == ((1, 3, 32, 32), True)
    with pytest.raises(InputError, match=r"model\.onnx exists"):
        export_checkpoint(model, target="x86-gateway")


def test_answers_travel_from_the_checkpoint_to_the_gate(model: Path) -> None:
    counts = {"both": 50, "dense": 10, "slim": 5, "neither": 35}
    history = {**RECORD.history, "accuracy_dense": 0.6, "accuracy_slim": 0.55, "answers": counts}
    checkpoint.write(model, replace(RECORD, history=history), overwrite=True)
    export_checkpoint(model, target="x86-gateway")
    verdict = accuracy(read(model.with_name("model.onnx")), 1.0)
    assert (verdict.outcome, verdict.value, verdict.raw) == ("inconclusive", 5.0, counts)


@pytest.mark.parametrize(
    "wrong", [{"answers": {"both": -1}}, {"accuracy_dense": 7}, {"macs": "x"}]
)
def test_a_history_that_cannot_be_right_is_named(model: Path, wrong: dict[str, Any]) -> None:
    checkpoint.write(model, replace(RECORD, history={**RECORD.history, **wrong}), overwrite=True)
    with pytest.raises(InputError, match=f"the checkpoint's history: {next(iter(wrong))}"):
        export_checkpoint(model, target="x86-gateway")


def test_a_file_that_answers_otherwise_is_not_left_behind(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sealed_file.to_onnx(build(ModelSpec("resnet20", num_classes=3), seed=5), (3, 32, 32))
    monkeypatch.setattr(sealed_file, "to_onnx", lambda model, shape: other)
    with pytest.raises(PromiseError, match="parity failed"):
        export_checkpoint(model, target="x86-gateway")
    assert not model.with_name("model.onnx").exists()


def test_what_is_missing_is_named(model: Path) -> None:
    with pytest.raises(InputError, match="records no target of this version; pass --target"):
        export_checkpoint(model)
    checkpoint.write(model, replace(RECORD, images=None), overwrite=True)
    with pytest.raises(InputError, match="carries no sample images"):
        export_checkpoint(model, target="x86-gateway")
