"""The latency table on disk: where it lies, when it is stale, how two are merged."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from edgeprune.deploy.table.records import FORMAT, Conditions, Table
from edgeprune.documents import read_json
from edgeprune.errors import InputError
from edgeprune.files import disk_errors, locked, write_whole
from edgeprune.target import data_folder
from edgeprune.text import first_problem, one_line

LOG = logging.getLogger(__name__)
OWN = Path("calibration")  # in the working directory, for those who make that folder
CARRIED = "carried"  # folder beside a target's own tables: those of devices elsewhere


def known(target: str, now: Conditions, device: str) -> tuple[Table, Path | None, str]:
    """What is on disk for a target on the machine that ``now`` names.

    A table that no longer holds is forgotten where edgeprune keeps it for itself (the user's
    cache, or shipped): measuring again mends it. One under ``./calibration`` is the user's own
    work, and only ``--rebuild`` replaces it.

    Args:
        target: Name of the target.
        now: What has to be equal for its times to hold.
        device: Address of the device, for the hint.

    Returns:
        The table, empty where none holds; where it lies; why one was forgotten, or nothing.

    Raises:
        InputError: the user's own table is stale or damaged; the line says how to rebuild it.
    """
    path = next((p for p in _places(target, now) if p.is_file()), None)
    if path is None:
        return Table(conditions=now), None, ""
    try:
        table = read(path)
        refuse_stale(table, now, path)
    except InputError as error:
        if path.is_relative_to(OWN):
            remote = "" if device == "local://" else f" and `--device {device}`"
            hint = f"run `edgeprune probe --rebuild` for this target and model{remote}"
            raise InputError(f"{error}; {hint}") from None
        LOG.warning("%s; it is measured again", error)
        return Table(conditions=now), None, str(error)
    return table, path, ""


def read(path: Path) -> Table:
    """Read a table.

    Raises:
        InputError: it cannot be read, is cut off, no table or one of an earlier edgeprune.
    """
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(f"{path} is not a latency table ({error})") from None
    if isinstance(content, dict) and content.get("schema") == 1:
        raise InputError(f"{path} no longer holds: an earlier edgeprune timed other blocks")
    if isinstance(content, dict) and content.get("schema", FORMAT) != FORMAT:
        found = one_line(repr(content["schema"]))[:40]
        raise InputError(
            f"{path} is not a latency table of format {FORMAT}, which this version reads, but of "
            f"{found}"
        )
    try:
        return Table.model_validate(content)
    except ValidationError as error:
        detail = ": ".join(part for part in first_problem(error) if part)
        raise InputError(f"{path} is not a latency table ({detail})") from None


def refuse_stale(table: Table, now: Conditions, path: Path) -> None:
    """Raise InputError, naming what changed, when a table was measured under other conditions."""
    for key, there in table.conditions.model_dump().items():
        here = getattr(now, key)
        if there != here:
            raise InputError(f"{path} is stale: measured with {key} {there}, now {here}")


def write(table: Table, target: str, *, afresh: bool) -> Path:
    """Write a table where this user may.

    Args:
        table: What was measured.
        target: Name of the target.
        afresh: Drop what is on disk. Else what another process wrote there meanwhile stays, and
            where both know something, its times do.

    Raises:
        MachineError: the disk does not take it.
    """
    return _written(table, writable() / "latency" / target, afresh=afresh)


def keep(table: Table, target: str) -> Path:
    """Write a table that was carried here, where this user may.

    It takes the place of what was kept of that device on another grid or under other conditions;
    else what it lacks stays.

    Raises:
        MachineError: the disk does not take it.
    """
    folder = writable() / "latency" / target / CARRIED
    path = folder / file_name(table.conditions)
    with contextlib.suppress(InputError):  # a damaged one is replaced
        there = read(path)
        if (there.conditions, there.grid) == (table.conditions, table.grid):
            table = table.merged(there)
    return _written(table, folder, afresh=True)


def writable() -> Path:
    """Where tables are written: ./calibration for those who made it, else the user's cache."""
    return OWN if OWN.is_dir() else _cache()


def roots() -> Iterator[Path]:
    """Where tables are looked for, nearest first: the working directory, the cache, as shipped."""
    yield from (OWN, _cache(), data_folder("calibration"))


def _cache() -> Path:
    return platformdirs.user_cache_path("edgeprune") / "calibration"


def _written(table: Table, folder: Path, *, afresh: bool) -> Path:
    path = folder / file_name(table.conditions)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        if path.is_file() and not afresh:
            there = read(path)  # under the lock: nobody writes before we have
            table = there.merged(table) if there.conditions == table.conditions else table
        write_whole(path, table.to_json())
    return path


def file_name(conditions: Conditions) -> str:
    """One file for each kind of machine and each number format."""
    dtype = "" if conditions.dtype == "fp32" else f"-{conditions.dtype}"
    return f"{conditions.machine}{dtype}.json"


def _places(target: str, now: Conditions) -> Iterator[Path]:
    """Where a machine's table may lie; one that was carried here is as good, after its own."""
    for root in roots():
        folder = root / "latency" / target
        yield from (folder / file_name(now), folder / CARRIED / file_name(now))
