"""Files that are no checkpoint, or need code to be run, are refused in one line."""

import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.models.reading import is_safetensors, load


class Evil:
    """Leaves a file behind in the working directory when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("open('was-here', 'w')",)


def _cut(path: Path, share: float) -> None:
    torch.save({"w": torch.arange(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _mangle(path: Path) -> None:
    """An archive whose directory is damaged, which zipfile finds only as it reads it."""
    torch.save({"w": torch.arange(3)}, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x00", 1))


def _script(path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))


GIVEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "module": (lambda path: torch.save(nn.Linear(2, 2), path), "refused; re-save it"),
    "evil": (lambda path: path.write_bytes(pickle.dumps(Evil())), "refused; re-save it"),
    "old evil": (lambda path: path.write_bytes(pickle.dumps(Evil(), 2)), "refused; re-save it"),
    "evil inside": (lambda path: torch.save({"state_dict": {"w": Evil()}}, path), "refused; re-"),
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "text": (lambda path: path.write_text("no checkpoint, whatever its name\n" * 20), "damaged"),
    "truncated": (lambda path: _cut(path, 0.9), "damaged"),
    "half": (lambda path: _cut(path, 0.5), "damaged"),
    "directory": (_mangle, "damaged"),
    "truncated pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": "b"}, 2)[:8]),
        "damaged",
    ),
    "broken safetensors": (
        lambda path: path.write_bytes((9).to_bytes(8, "little") + b'{"a":"b"} '),
        "damaged",
    ),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.pt"
    make, message = GIVEN[kind]
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "given.pt" in str(caught.value)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("wrapping", [None, "model"])
def test_the_line_that_re_saves_a_pickle_works(
    wrapping: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole network in the file, bare or in a dictionary beside other objects."""
    monkeypatch.chdir(tmp_path)
    network = nn.Linear(2, 2)
    torch.save({wrapping: network, "by": Path} if wrapping else network, tmp_path / "w.pt")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "w.pt")
    _run(str(caught.value))
    assert torch.equal(load(tmp_path / "weights.pt")["weight"], network.weight)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_the_line_that_re_saves_a_torchscript_archive_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _script(tmp_path / "w.pt")
    with pytest.raises(InputError, match="TorchScript archive") as caught:
        load(tmp_path / "w.pt")
    _run(str(caught.value))
    assert load(tmp_path / "weights.pt")["weight"].shape == (2, 2)


def _run(line: str) -> None:
    found = re.search(r'python (-c ".*")$', line)
    assert found is not None
    subprocess.run([sys.executable, *shlex.split(found[1])], check=True, capture_output=True)


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.ones(2, 3)}, tmp_path / "weights.bin")
    assert is_safetensors(tmp_path / "weights.bin")
    assert load(tmp_path / "weights.bin")["conv.weight"].sum() == 6


def test_safetensors_without_the_library_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MachineError, match=r'pip install "edgeprune\[search\]"'):
        load(tmp_path / "w.safetensors")
