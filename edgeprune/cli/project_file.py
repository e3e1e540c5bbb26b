"""Reads edgeprune.toml: a project's own defaults for the options of the commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.documents import read_toml
from edgeprune.errors import InputError
from edgeprune.text import did_you_mean, one_line

NAME = "edgeprune.toml"
# They run code or say what is written where: a checkout that is judged must not set them.
COMMAND_LINE_ONLY = {"trust_factory", "overwrite", "out", "output", "json", "junit"}
Defaults = dict[str, dict[str, Any]]


def defaults(options: Mapping[str, set[str]], path: Path | None = None) -> Defaults:
    """Read ``edgeprune.toml``: one table a command, one key an option without its dashes.

    Flags and ``EDGEPRUNE_<COMMAND>_<OPTION>`` win over it, it wins over the target profile.

    Args:
        options: Per command, the names its options have in Python (``max_latency_ratio``).
        path: The file; ``edgeprune.toml`` in the working directory when not given.

    Returns:
        Per command, defaults under Python names; empty without a file.

    Raises:
        InputError: not TOML, an unknown command or option, or one for the command line alone.
    """
    path = path or Path(NAME)
    if not path.is_file():
        return {}
    tables = read_toml(path)
    return {command: _table(path, command, table, options) for command, table in tables.items()}


def refuse_environment(options: Mapping[str, set[str]], environment: Mapping[str, str]) -> None:
    """Raise InputError for a variable that sets what only the command line may set."""
    for command, names in options.items():
        for name in sorted(names & {*COMMAND_LINE_ONLY, "model", "device"}):
            variable = f"EDGEPRUNE_{command}_{name}".upper()
            if value := environment.get(variable):
                _refuse_delicate(variable, command, name, value)


def told(command: str, found: Defaults) -> str:
    """What the file sets for a command, as one line; empty where it sets nothing."""
    pairs = [
        f"{key.replace('_', '-')} = {value!r}" for key, value in found.get(command, {}).items()
    ]
    return one_line(f"{NAME} sets {', '.join(pairs)}") if pairs else ""


def _table(
    path: Path, command: str, table: Any, options: Mapping[str, set[str]]
) -> dict[str, Any]:
    if command not in options or not isinstance(table, dict):
        raise InputError(f"{path}: no command [{command}]{did_you_mean(command, options)}")
    known = {name.replace("_", "-"): name for name in options[command]}
    for key, value in table.items():
        if key not in known:
            raise InputError(
                f"{path}: [{command}] has no option {key!r}{did_you_mean(key, known)}"
            )
        _refuse_delicate(f"{path}: [{command}] {key}", command, known[key], value)
        _refuse_kind(f"{path}: [{command}] {key}", value)
    return {known[key]: value for key, value in table.items()}


def _refuse_delicate(where: str, command: str, name: str, value: Any) -> None:
    """Refuse outputs and leave to run code, a model to be imported and a device by a command."""
    module = name == "model" and command != "check" and ":" in str(value)
    # A command, and a root of an emulated device, hold programs that would be run.
    runs = name == "device" and (str(value).startswith("exec:") or "?root=" in str(value))
    if name in COMMAND_LINE_ONLY or module or runs:
        flag = name.replace("_", "-")
        raise InputError(f"{where}: only the command line may set this; pass --{flag}")


def _refuse_kind(where: str, value: Any) -> None:
    """Refuse what no option takes: tables, dates, lists of anything but words and numbers."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str | int | float):
            raise InputError(f"{where}: wants a text, a number, true, false or a list of these")
