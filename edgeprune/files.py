"""Writes files whole or not at all, and turns what a disk refuses into one line."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeprune.errors import InputError, MachineError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_whole(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a file under a temporary name and rename it, so nobody ever sees half of it.

    The content is on the disk before the file has its name. A new file gets the rights that the
    umask leaves, a replaced one keeps its own. A symbolic link keeps pointing where it did, and a
    device or a pipe is written to, as it is no file that could be replaced. Without ``overwrite``,
    of several processes that write one path the first wins and the others get the InputError of
    :func:`refuse_existing`.
    """
    with disk_errors(path):
        if overwrite:
            if path.exists() and not path.is_file():
                path.write_bytes(content)
                return
            path = path.resolve()
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            _fill(temporary, content, like=path)
            if overwrite:
                temporary.replace(path)
            else:
                _claim(path, temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _fill(path: Path, content: bytes, like: Path) -> None:
    """Write a new file through to the disk, with the rights of ``like`` where that exists."""
    replaces = like.exists()
    # Nobody else may open it before it has the rights of the file that it replaces.
    path.touch(0o600 if replaces else 0o666, exist_ok=False)
    with path.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    if replaces:
        path.chmod(stat.S_IMODE(like.stat().st_mode))


def _claim(path: Path, temporary: Path) -> None:
    """Give the file its name unless somebody has it; a rename would replace theirs."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        refuse_existing(path, overwrite=False)
        raise
    except OSError:  # a file system without hard links
        refuse_existing(path, overwrite=False)
        temporary.replace(path)
    else:
        temporary.unlink()


def contents(path: Path, most: int = 1 << 32) -> bytes:
    """The bytes of a regular file; a pipe may never end, a device neither.

    Args:
        path: The file.
        most: Largest size in bytes.

    Raises:
        InputError: it cannot be read, is no file or is larger.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}") from None
    if len(content) > most:
        raise InputError(f"{path} has more than {most >> 20:,} MiB, the most that is read")
    return content


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk can refuse into one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
        raise MachineError(f"cannot write {path}: {reason}") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time in; where a folder cannot be locked, all of them.

    The lock is on the folder itself: no lock file is left in it.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # Windows; some network file systems
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise InputError when ``path`` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; pass --overwrite to replace it")
