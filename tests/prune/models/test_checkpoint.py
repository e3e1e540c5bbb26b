import pickle
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint


@pytest.fixture
def content():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return Checkpoint(
        model="resnet20",
        kwargs={"shortcut": "A-conv"},
        plan={"schema": 1, "model": "resnet20", "kept": {"conv1": [0, 2]}},
        state_dict=model.state_dict(),
        input_shape=(3, 32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        classes=("cat", "dog"),
        history={"epochs": 3, "accuracy": [0.5, 0.75], "target": None},
        images=torch.arange(96, dtype=torch.uint8).view(2, 3, 4, 4),
    )


def test_what_is_written_is_read_back_bit_for_bit(content, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write(path, content)
    again = checkpoint.read(path)
    plain = {"state_dict": {}, "images": None}
    assert replace(again, **plain) == replace(content, **plain)
    assert again.state_dict.keys() == content.state_dict.keys()
    for name, tensor in content.state_dict.items():
        assert again.state_dict[name].dtype == tensor.dtype
        assert torch.equal(again.state_dict[name], tensor)
    assert torch.equal(checkpoint.samples(again), content.images)


def test_views_do_not_drag_their_storage_along(content, tmp_path):
    big = torch.zeros(1_000_000)
    path = tmp_path / "model.pt"
    checkpoint.write(path, replace(content, state_dict={"w": big[:10]}))
    assert path.stat().st_size < 10_000


def test_an_existing_file_is_replaced_only_on_demand(content, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write(path, content)
    with pytest.raises(InputError, match="--overwrite"):
        checkpoint.write(path, content)
    checkpoint.write(path, replace(content, model="resnet56"), overwrite=True)
    assert checkpoint.read(path).model == "resnet56"
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_only_plain_history_is_written(content, tmp_path):
    with pytest.raises(InputError, match=r"history\.optimiser holds a Linear"):
        checkpoint.write(
            tmp_path / "m.pt", replace(content, history={"optimiser": nn.Linear(1, 1)})
        )
    assert not (tmp_path / "m.pt").exists()


def test_a_disk_that_refuses_is_the_machines_fault(content, tmp_path):
    with pytest.raises(MachineError, match="cannot write"):
        checkpoint.write(tmp_path / "missing" / "model.pt", content)


class Evil:
    """Leaves a file behind in the working directory when it is unpickled."""

    def __reduce__(self):
        return eval, ("open('was-here', 'w')",)


def _cut(path, content, share):
    checkpoint.write(path, content)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


GIVEN = {
    "missing": lambda path, content: None,
    "folder": lambda path, content: path.mkdir(),
    "module": lambda path, content: torch.save(nn.Linear(2, 2), path),
    "evil": lambda path, content: path.write_bytes(pickle.dumps(Evil())),
    "old evil": lambda path, content: path.write_bytes(pickle.dumps(Evil(), 2)),
    "evil inside": lambda path, content: torch.save({"state_dict": {"w": Evil()}}, path),
    "empty": lambda path, content: path.write_bytes(b""),
    "text": lambda path, content: path.write_text("not a checkpoint, whatever its name\n" * 20),
    "truncated": lambda path, content: _cut(path, content, 0.9),
    "half": lambda path, content: _cut(path, content, 0.5),
    "truncated pickle": lambda path, content: path.write_bytes(pickle.dumps({"a": "b"}, 2)[:8]),
}


@pytest.mark.parametrize("read", [checkpoint.read, checkpoint.read_state_dict])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("module", "refused; re-save it"),
        ("evil", "refused; re-save it"),
        ("old evil", "refused; re-save it"),
        ("evil inside", "refused; re-save it"),
        ("empty", "damaged"),
        ("text", "damaged"),
        ("truncated", "damaged"),
        ("half", "damaged"),
        ("truncated pickle", "damaged"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    kind, message, read, content, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.pt"
    GIVEN[kind](path, content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert "given.pt" in str(caught.value)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, this edgeprune reads 1"),
        ({"model": 5}, "'model' is not what it should be"),
        ({"state_dict": {"w": 1}}, "'state_dict' is not what it should be"),
        ({"input_shape": (3, 32)}, "'input_shape' is not what it should be"),
        ({"plan": [1]}, "'plan' is not what it should be"),
        ({"mean": "abc"}, "'mean' is not what it should be"),
        ({"std": (1.0,)}, "'std' is not what it should be"),
        ({"classes": None}, "'classes' is not what it should be"),
        ({"images": torch.zeros(1, 3, 8, 8)}, "'images' is not what it should be"),
    ],
)
def test_a_model_file_with_wrong_content_names_it(change, message, content, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write(path, content)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(InputError, match=re.escape(message)):
        checkpoint.read(path)


def test_a_field_that_is_missing_is_named(content, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write(path, content)
    held = torch.load(path, weights_only=True)
    del held["classes"]
    torch.save(held, path)
    with pytest.raises(InputError, match="lacks 'classes'"):
        checkpoint.read(path)


def test_other_peoples_checkpoints_are_no_model_file(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="--model"):
        checkpoint.read(tmp_path / "w.pt")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapping", [None, "state_dict", "model", "net", "model_state_dict"])
def test_weights_are_found_in_every_common_wrapping(wrapping, prefix, tmp_path):
    weights = {f"{prefix}conv.weight": torch.rand(2, 2), f"{prefix}conv.bias": torch.rand(2)}
    wrapped = weights if wrapping is None else {wrapping: weights, "best_prec1": 91.7}
    torch.save(wrapped, tmp_path / "w.pt")
    found = checkpoint.read_state_dict(tmp_path / "w.pt")
    assert list(found) == ["conv.weight", "conv.bias"]
    assert torch.equal(found["conv.weight"], weights[f"{prefix}conv.weight"])


def test_a_model_file_is_a_source_of_weights_too(content, tmp_path):
    checkpoint.write(tmp_path / "model.pt", content)
    found = checkpoint.read_state_dict(tmp_path / "model.pt")
    assert list(found) == list(content.state_dict)


@pytest.mark.parametrize("held", [{}, {"epoch": 3}, [torch.ones(1)], {"state_dict": {"w": "x"}}])
def test_a_file_without_weights_says_so(held, tmp_path):
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(InputError, match="holds no weights"):
        checkpoint.read_state_dict(tmp_path / "w.pt")


def test_a_checkpoint_without_images_says_so(content):
    with pytest.raises(InputError, match="no sample images"):
        checkpoint.samples(replace(content, images=None))
