"""Reading of checkpoint files (torch.save, safetensors) without ever running code from them."""

import errno
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from edgeprune.errors import InputError, MachineError

SAFETENSORS = "safetensors file"
_LENGTH = 8
"""Bytes in front of the JSON header of a safetensors file: its length, little-endian."""


def load(path: Path) -> Any:
    """The content of a checkpoint: plain values and tensors, on the CPU.

    Raises:
        InputError: missing, damaged, or made of code that would have to be run.
        MachineError: a safetensors file without the library that reads it.
    """
    try:
        if is_safetensors(path):
            return _safetensors(path)
        with warnings.catch_warnings(), path.open("rb") as file:
            # Some pickles draw a warning before the error that says the same.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except (InputError, MachineError):
        raise
    except OSError as error:
        raise _unreadable(path, error) from None
    except pickle.UnpicklingError as error:
        if _is_pickled(path) and "truncated" not in str(error):
            raise InputError(_resave(path)) from None
        raise _damaged(path) from None
    except Exception:
        # A damaged archive surfaces as RuntimeError, EOFError, KeyError or ValueError.
        raise (_script(path) if _is_script(path) else _damaged(path)) from None


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header, then the header."""
    with path.open("rb") as file:
        head = file.read(_LENGTH + 1)
    size = path.stat().st_size
    length = int.from_bytes(head[:_LENGTH], "little")
    return head[_LENGTH:] == b"{" and 0 < length <= size - _LENGTH


def _safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MachineError(
            f'{path} needs the safetensors library; pip install "edgeprune[search]"'
        ) from None
    return load_file(path, device="cpu")


def _unreadable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"checkpoint {path} does not exist")
    if isinstance(error, IsADirectoryError):
        return InputError(f"checkpoint {path} is a folder; name the file in it")
    if error.errno == errno.EINVAL:  # torch seeks to where a cut archive should go on
        return _damaged(path)
    return InputError(f"checkpoint {path} cannot be read: {error.strerror}")


def _resave(path: Path) -> str:
    """The line that re-saves the weights of a pickle, for whoever trusts it."""
    keys = "('state_dict','model','net')"
    # Short, since a line on stderr ends at 400 characters and the path is a part of it.
    code = (
        f"import torch;c=torch.load({str(path)!r},'cpu',weights_only=False);"
        f"c=next((c[k] for k in {keys} if k in c),c) if type(c) is dict else c;"
        "torch.save(getattr(c,'state_dict',lambda:c)(),'weights.pt')"
    )
    return (
        "reading the checkpoint would run code, which is refused; re-save it if you trust it: "
        f'python -c "{code}"'
    )


def _script(path: Path) -> InputError:
    code = f"import torch; torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')"
    return InputError(
        "the checkpoint is a TorchScript archive, whose code is not run; re-save its weights: "
        f'python -c "{code}"'
    )


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except Exception:  # no archive; a damaged one surfaces as any of half a dozen errors
        return False


def _is_pickled(path: Path) -> bool:
    """Whether a file begins as a pickle or as the archive that torch keeps one in."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"\x80", b"PK"))


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is no checkpoint, or a damaged one; fetch it again")
