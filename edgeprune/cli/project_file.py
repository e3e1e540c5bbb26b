"""Reads edgeprune.toml: a project's own defaults for the options of the commands."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.errors import InputError
from edgeprune.text import did_you_mean

NAME = "edgeprune.toml"


def defaults(options: Mapping[str, set[str]], path: Path | None = None) -> dict[str, Any]:
    """Read ``edgeprune.toml``: one table a command, one key an option without its dashes.

    Flags and ``EDGEPRUNE_<COMMAND>_<OPTION>`` win over it, it wins over the target profile.

    Args:
        options: Per command, the names its options have in Python (``max_latency_ratio``).
        path: The file; ``edgeprune.toml`` in the working directory when not given.

    Returns:
        Per command, defaults under Python names; empty without a file.

    Raises:
        InputError: not TOML, an unknown command or an unknown option.
    """
    path = path or Path(NAME)
    if not path.is_file():
        return {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None
    return {command: _table(path, command, table, options) for command, table in tables.items()}


def _table(
    path: Path, command: str, table: Any, options: Mapping[str, set[str]]
) -> dict[str, Any]:
    if command not in options or not isinstance(table, dict):
        raise InputError(f"{path}: no command [{command}]{did_you_mean(command, options)}")
    known = {name.replace("_", "-"): name for name in options[command]}
    for key in table:
        if key not in known:
            raise InputError(
                f"{path}: [{command}] has no option {key!r}{did_you_mean(key, known)}"
            )
    return {known[key]: value for key, value in table.items()}
