"""Reads edgeprune.toml or [tool.edgeprune]: a project's own defaults for the commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.documents import read_toml
from edgeprune.errors import InputError
from edgeprune.text import did_you_mean, one_line

NAME, SHARED = "edgeprune.toml", "pyproject.toml"
# They run code or say what is written where: a checkout that is judged must not set them.
COMMAND_LINE_ONLY = {"trust_factory", "overwrite", "out", "output", "json", "junit"}
# They loosen the gate: another limit, another reference, or no verdict at all.
LOOSENING = {"max_ratio", "budget", "baseline", "self_test"}
Options = Mapping[str, set[str]]
Defaults = dict[str, Any]


def defaults(options: Options, folder: Path | None = None) -> tuple[Defaults, str]:
    """Read a project's defaults: one table a command, one key an option without its dashes.

    Flags and ``EDGEPRUNE_<COMMAND>_<OPTION>`` win over them, they win over the target profile.

    Args:
        options: Per command (``devices check``), the names its options have in Python
            (``max_latency_ratio``).
        folder: Where ``edgeprune.toml`` or ``pyproject.toml`` lies; here when not given.

    Returns:
        Defaults under Python names, nested as the commands are, and the file they are from;
        empty without a file.

    Raises:
        InputError: not TOML, both files set something, an unknown command or option, or one for
            the command line alone.
    """
    own, shared = (folder or Path()) / NAME, (folder or Path()) / SHARED
    tool = read_toml(shared).get("tool", {}) if shared.is_file() else {}
    tables = tool.get("edgeprune", {}) if isinstance(tool, dict) else {}
    where, path = f"{shared} [tool.edgeprune]", shared
    if own.is_file():
        if tables:
            raise InputError(f"{own} and {where} both set defaults; keep them in one of the two")
        where, path, tables = str(own), own, read_toml(own)
    if not isinstance(tables, dict):
        raise InputError(f"{where}: wants a table for each command")
    found = {command: _table(where, command, table, options) for command, table in tables.items()}
    return found, path.name if found else ""


def refuse_environment(options: Options, environment: Mapping[str, str]) -> None:
    """Raise InputError for a variable that sets what only the command line may set."""
    for command, names in options.items():
        for name in sorted(names):
            variable = variable_of(command, name)
            if value := environment.get(variable):
                _refuse_delicate(variable, command, name, value)


def variable_of(command: str, name: str) -> str:
    """The environment variable of an option."""
    return f"EDGEPRUNE_{command}_{name}".upper().replace(" ", "_").replace("-", "_")


def told(file: str, found: Mapping[str, Any]) -> str:
    """What a file sets for a command, as one line; empty where it sets nothing."""
    pairs = [
        f"{key.replace('_', '-')} = {value!r}"
        for key, value in found.items()
        if not isinstance(value, dict)
    ]
    return one_line(f"{file} sets {', '.join(pairs)}") if pairs else ""


def _table(where: str, command: str, table: Any, options: Options) -> dict[str, Any]:
    if command not in options or not isinstance(table, dict):
        raise InputError(f"{where}: no command [{command}]{did_you_mean(command, options)}")
    known = {name.replace("_", "-"): name for name in options[command]}
    found: dict[str, Any] = {}
    for key, value in table.items():
        if f"{command} {key}" in options:
            found[key] = _table(where, f"{command} {key}", value, options)
            continue
        if key not in known:
            raise InputError(
                f"{where}: [{command}] has no option {key!r}{did_you_mean(key, known)}"
            )
        _refuse_delicate(f"{where}: [{command}] {key}", command, known[key], value)
        _refuse_kind(f"{where}: [{command}] {key}", value)
        found[known[key]] = value
    return found


def _refuse_delicate(where: str, command: str, name: str, value: Any) -> None:
    """Refuse what runs code, writes elsewhere or loosens a gate.

    A model that is imported as a module runs; a device that is reached over the network gets the
    model.
    """
    module = name == "model" and command != "check" and ":" in str(value)
    elsewhere = name == "device" and not str(value).startswith("local")
    looser = command == "check" and (
        name in LOOSENING or (name, value) == ("on_inconclusive", "pass")
    )
    if name in COMMAND_LINE_ONLY or module or elsewhere or looser:
        flag = name.replace("_", "-")
        raise InputError(f"{where}: only the command line may set this; pass --{flag}")


def _refuse_kind(where: str, value: Any) -> None:
    """Refuse what no option takes: tables, dates, lists of anything but words and numbers."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str | int | float):
            raise InputError(f"{where}: wants a text, a number, true, false or a list of these")
