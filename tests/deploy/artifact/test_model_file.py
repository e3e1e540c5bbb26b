"""An ONNX file and the files beside it that hold its weights, read once."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.artifact.model_file import read_model
from edgeprune.errors import InputError

Net = Callable[..., bytes]


@pytest.fixture
def apart(net: Net, tmp_path: Path) -> Path:
    """A network whose weights lie in weights.bin."""
    path = tmp_path / "m.onnx"
    proto = onnx.ModelProto.FromString(net(8))
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def edited(path: Path, **told: str) -> None:
    """Say something else about where the first weight lies."""
    proto = onnx.load(path, load_external_data=False)
    entries = {e.key: e.value for e in proto.graph.initializer[0].external_data} | told
    del proto.graph.initializer[0].external_data[:]
    for key, value in entries.items():
        proto.graph.initializer[0].external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def test_a_single_file_is_what_is_run(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(net(8))
    found = read_model(path)
    assert found.whole is found.content
    assert (found.sha256, found.bytes) == (hashlib.sha256(net(8)).hexdigest(), len(net(8)))


def test_weights_beside_it_are_counted_hashed_and_run(apart: Path, net: Net) -> None:
    facts, beside = read(apart), (apart.parent / "weights.bin").read_bytes()
    assert facts.file_bytes == len(apart.read_bytes()) + len(beside)
    assert facts.sha256 == hashlib.sha256(apart.read_bytes() + beside).hexdigest()
    inside = read(apart, content=net(8))
    assert (facts.macs, facts.params) == (inside.macs, inside.params)
    apart.unlink()  # the session needs no file any more
    feed = {"input": np.ones((1, 3, 8, 8), np.float32)}
    answers = [
        onnxruntime.InferenceSession(each.model.content).run(None, feed)[0]
        for each in (facts, inside)
    ]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"location": "../m.onnx"}, "outside its folder"),
        ({"location": "/etc/passwd"}, "outside its folder"),
        ({"location": ""}, "outside its folder"),
        ({"location": "none.bin"}, "cannot be read"),
        ({"offset": "99999999"}, "does not hold them all"),
        ({"length": "-5"}, "does not hold them all"),
        ({"length": "many"}, "does not hold them all"),
    ],
)
def test_what_is_refused(apart: Path, told: dict[str, str], words: str) -> None:
    edited(apart, **told)
    with pytest.raises(InputError, match=words):
        read_model(apart)


def test_a_link_out_of_the_folder_is_refused(apart: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "w.bin"
    (apart.parent / "weights.bin").rename(elsewhere)
    (apart.parent / "weights.bin").symlink_to(elsewhere)
    with pytest.raises(InputError, match="outside its folder"):
        read_model(apart)
