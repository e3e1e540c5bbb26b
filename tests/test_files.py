import os
import threading

import pytest

from edgeprune import files
from edgeprune.errors import InputError, MachineError


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_whole(path, b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # what a delayed write may say as late as this
    with pytest.raises(MachineError, match="the disk is full"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_new_file_obeys_the_umask(tmp_path, umask, mode, overwrite):
    before = os.umask(umask)
    try:
        files.write_whole(tmp_path / "new", b"new", overwrite=overwrite)
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o666])
def test_a_replaced_file_keeps_its_rights(tmp_path, mode):
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(mode)
    files.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == mode


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


def test_a_locked_folder_lets_one_in_at_a_time_and_keeps_no_file(tmp_path):
    seen = []

    def other():
        with files.locked(tmp_path):
            seen.append("other")

    with files.locked(tmp_path):
        waiting = threading.Thread(target=other)
        waiting.start()
        waiting.join(0.2)
        seen.append("first")
    waiting.join()
    assert seen == ["first", "other"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_locked_lets_everybody_in(tmp_path):
    with files.locked(tmp_path / "nowhere"), files.locked(tmp_path / "nowhere"):
        pass
