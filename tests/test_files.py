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


def test_a_link_keeps_pointing_where_it_did(tmp_path):
    real, link = tmp_path / "there" / "real.json", tmp_path / "link.json"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    files.write_whole(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_whole(pipe, b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]
