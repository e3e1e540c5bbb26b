"""A model.pt becomes a sealed file, or one line says why not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune import __version__
from edgeprune.deploy.artifact import seal
from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.devices import sessions
from edgeprune.deploy.gate.accuracy import accuracy
from edgeprune.errors import InputError, PromiseError
from edgeprune.export import sealed_file
from edgeprune.export.checkpoint_file import export_checkpoint
from edgeprune.export.file_options import FileOptions
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.target import Runtime
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
    monkeypatch.setattr(sealed_file, "to_onnx", lambda model, shape, **options: other)
    with pytest.raises(PromiseError, match="parity failed"):
        export_checkpoint(model, target="x86-gateway")
    assert not model.with_name("model.onnx").exists()


def test_the_input_that_the_target_pins_is_kept_or_refused(model: Path) -> None:
    def written(*shape: int) -> str:
        (path := model.with_name("t.toml")).write_text(
            f'schema = 1\nname = "t"\n[input]\nshape = {list(shape)}'
        )
        return str(path)

    for shape in [(1, 3, 320, 320), (1, 3, 32), (2, 3, 32, 32)]:
        with pytest.raises(InputError, match=r"pins input\.shape = .*, the network takes"):
            export_checkpoint(model, target=written(*shape))
    assert not model.with_name("model.onnx").exists()
    shipped = export_checkpoint(model, target=written(1, 3, 32, 32))
    assert shipped.input_shape == (1, 3, 32, 32)
    batch = FileOptions(dynamic_batch=True)
    export_checkpoint(model, target=written(2, 3, 32, 32), options=batch, overwrite=True)


def test_what_is_missing_is_named(model: Path) -> None:
    with pytest.raises(InputError, match="records no target of this version; pass --target"):
        export_checkpoint(model)
    checkpoint.write(model, replace(RECORD, images=None), overwrite=True)
    with pytest.raises(InputError, match="carries no sample images"):
        export_checkpoint(model, target="x86-gateway")


def shipped_with(model: Path, **asked: Any) -> sealed_file.Shipped:
    options = FileOptions(**asked)
    return export_checkpoint(model, target="x86-gateway", options=options, overwrite=True)


def test_any_batch_is_compared_by_one_and_by_three(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    whole = sessions.Session.run

    def counting(session: Any, batch: Any) -> Any:
        sizes.append(len(batch))
        return whole(session, batch)

    monkeypatch.setattr(sessions.Session, "run", counting)
    shipped = shipped_with(model, dynamic_batch=True)
    assert {1, 3} <= set(sizes)  # of a checkpoint with two images
    axis = onnx.load(shipped.path).graph.input[0].type.tensor_type.shape.dim[0]
    assert axis.dim_param
    assert seal.verify(shipped.path).input_shape == (3, 32, 32)


def test_the_file_in_ort_format_answers_as_the_other(model: Path) -> None:
    shipped = shipped_with(model, ort=True)
    assert shipped.ort == shipped.path.with_suffix(".ort")
    images = sealed_file.parity_inputs(RECORD).numpy()[:1]
    answers = [sessions.open(path, Runtime()).run(images) for path in (shipped.path, shipped.ort)]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-3, atol=1e-4)
    recorded = sessions.open(shipped.ort, Runtime()).session.get_modelmeta()
    assert recorded.custom_metadata_map["edgeprune.model"] == "resnet20"
    with pytest.raises(InputError, match=r"model\.(onnx|ort) exists"):
        export_checkpoint(model, target="x86-gateway", options=FileOptions(ort=True))


def test_a_wrong_ort_file_leaves_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sealed_file.to_onnx(build(ModelSpec("resnet20", num_classes=3), seed=5), (3, 32, 32))
    wrong = sealed_file.ort_format(other.SerializeToString())
    monkeypatch.setattr(sealed_file, "ort_format", lambda content: wrong)
    with pytest.raises(PromiseError, match="parity failed"):
        shipped_with(model, ort=True)
    assert [path.name for path in model.parent.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(("asked", "inside"), [(None, 2), (1, 1), (0, 0)])
def test_as_many_images_travel_as_asked(model: Path, asked: int | None, inside: int) -> None:
    shipped = shipped_with(model, parity_images=asked)
    assert shipped.images_inside == inside
    carried = seal.verify(shipped.path).parity
    assert (len(carried.logits) if carried else 0) == inside
    assert (b"edgeprune.parity" in shipped.path.read_bytes()) == bool(inside)


def test_more_images_than_there_are_are_refused(model: Path) -> None:
    with pytest.raises(InputError, match="--parity-images 3: the checkpoint carries 2"):
        shipped_with(model, parity_images=3)


def test_who_made_it_and_what_it_may_be_used_for_is_recorded(model: Path) -> None:
    history = {**RECORD.history, "resize": "none"}
    checkpoint.write(model, replace(RECORD, history=history), overwrite=True)
    shipped = shipped_with(model, licence="Apache-2.0", model_version=7)
    proto = onnx.load(shipped.path)
    assert (proto.producer_name, proto.producer_version) == ("edgeprune", __version__)
    assert proto.model_version == 7
    found = seal.verify(shipped.path)
    assert (found.licence, found.channel_order, found.resize) == ("Apache-2.0", "RGB", "none")


def test_the_same_options_give_the_same_bytes(model: Path) -> None:
    asked = {"dynamic_batch": True, "licence": "MIT", "parity_images": 1}
    first = shipped_with(model, **asked)
    assert shipped_with(model, **asked).sha256 == first.sha256


def test_dense_widths_are_recorded_of_a_slim_file_alone(model: Path) -> None:
    history = {**RECORD.history, "dense_widths": {"conv1": 16}}
    checkpoint.write(model, replace(RECORD, history=history), overwrite=True)
    assert seal.verify(shipped_with(model).path).dense_widths is None
