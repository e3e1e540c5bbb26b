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


def test_a_checkpoint_without_images_says_so(content):
    with pytest.raises(InputError, match="no sample images"):
        checkpoint.samples(replace(content, images=None))


@pytest.mark.parametrize("read", [checkpoint.read, checkpoint.is_record])
def test_what_cannot_be_read_is_refused_by_the_reader(read, tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "given.pt")
    with pytest.raises(InputError, match="is refused"):
        read(tmp_path / "given.pt")
