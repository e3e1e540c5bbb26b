import os

import pytest

from edgeprune import files
from edgeprune.errors import InputError, MachineError


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_whole(path, b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(MachineError, match="the disk is full"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_existing_file_is_kept_unless_overwrite_is_set(tmp_path):
    path = tmp_path / "model.onnx"
    files.refuse_existing(path, overwrite=False)
    path.write_bytes(b"")
    files.refuse_existing(path, overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        files.refuse_existing(path, overwrite=False)
