"""Writes what docs/reference takes from the code: ``python .ci/reference.py``.

``commands.md`` comes from the parser as a whole, ``action.md`` from action.yml. In ``target.md``
keys, kinds and defaults come from the pydantic models; what a key means is written by hand and
kept.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package, wherever another one is installed

from edgeprune.cli.app import app  # noqa: E402
from edgeprune.target import TargetProfile  # noqa: E402

COMMANDS = ROOT / "docs/reference/commands.md"
ACTION = ROOT / "docs/reference/action.md"
TARGET = ROOT / "docs/reference/target.md"
HEAD = "| key | value | default | meaning |\n|---|---|---|---|\n"
INTRO = """# Commands

Written from the parser by `python .ci/reference.py`; `--help` behind a command says the same.
Every option can also be set as `EDGEPRUNE_<COMMAND>_<OPTION>` or in `edgeprune.toml`, less those
that only the command line may set ([the command line](command-line.md#configuration)).
[Exit codes](exit-codes.md) are the same for all commands.
"""

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
USE = f"""# GitHub Action

Written from action.yml by `python .ci/reference.py`. The action installs edgeprune without torch,
with the version of onnxruntime that is pinned, and runs `edgeprune check`
([the gate](../explanation/gate.md)). OWNER is whoever publishes this repository.

```yaml
- uses: OWNER/edgeprune@v{VERSION}
  id: latency
  with:
    model: model.onnx
    baseline: dense.onnx
- if: always()
  run: echo "${{{{ steps.latency.outputs.outcome }}}}"
```
"""


def main() -> None:
    """Write the pages."""
    COMMANDS.write_text(commands(), "utf-8")
    ACTION.write_text(action(), "utf-8")
    TARGET.write_text(target(TARGET.read_text("utf-8")), "utf-8")


def commands() -> str:
    """The page of all commands."""
    found = typer.main.get_command(app)
    return INTRO + "".join(_command(*pair) for pair in _leaves("edgeprune", found))


def action() -> str:
    """The page of the GitHub Action."""
    found = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    page = USE + "\n## Inputs\n\n| input | default | meaning |\n|---|---|---|\n"
    for name, each in found["inputs"].items():
        default = "required" if each.get("required") else _plain(each["default"])
        page += f"| `{name}` | {default} | {each['description']} |\n"
    page += "\n## Outputs\n\n| output | meaning |\n|---|---|\n"
    for name, each in found["outputs"].items():
        page += f"| `{name}` | {each['description']} |\n"
    return page


def target(page: str) -> str:
    """The page of target profiles with its table brought up to date.

    Raises:
        ValueError: nobody has written yet what a key means.
    """
    start, end = page.index(HEAD), page.index("\n\n", page.index(HEAD))
    rows = page[start + len(HEAD) : end].splitlines()
    meant = {match[1]: match[2] for row in rows if (match := re.match(ROW, row))}
    lines = []
    for key, value, default in _keys(TargetProfile.model_json_schema(), ""):
        if not meant.get(key):
            raise ValueError(f"target.md: add a row '| `{key}` | | | what it means |'")
        lines.append(f"| `{key}` | {value} | {default} | {meant[key]} |")
    return page[:start] + HEAD + "\n".join(lines) + page[end:]


ROW = r"\| `([^`]+)` \|[^|]*\|[^|]*\| (.*) \|$"


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command with a name of its own, groups that do something by themselves included."""
    inner = getattr(command, "commands", {})
    if not inner or (command.invoke_without_command and " " in name):
        yield name, command
    for word, each in inner.items():
        yield from _leaves(f"{name} {word}", each)


def _command(name: str, command: Any) -> str:
    own = [p for p in command.params if p.name != "help"]
    arguments = [p for p in own if p.param_type_name == "argument"]
    words = [f"{a.name.upper()}{'...' if a.nargs == -1 else ''}" for a in arguments]
    usage = " ".join([name, *words])
    context = typer.Context(command, info_name=name)
    rows = [_row(p, context) for p in own if not getattr(p, "hidden", False)]
    table = "| option | value | default | meaning |\n|---|---|---|---|\n" if rows else ""
    text = " ".join((command.help or command.short_help or "").split())
    return f"\n## {name}\n\n`{usage}`: {text}\n\n{table}" + "".join(rows)


def _row(param: Any, context: typer.Context) -> str:
    """An option, or an argument in capitals, as a row of the table."""
    argument = param.param_type_name == "argument"
    name = param.name.upper() if argument else ", ".join(param.opts)
    flag = getattr(param, "is_flag", False)
    kind = "" if flag else _value(param, context)
    value = getattr(param.default, "value", param.default)
    if isinstance(value, list):
        value = " ".join(map(str, value))
    unsaid = flag or value is None or callable(value)
    default = "required" if param.required else "" if unsaid else f"`{value}`"
    help_text = " ".join((param.help or "").split()).replace("|", "\\|")
    return f"| `{name}` | {kind} | {default} | {help_text} |\n"


def _value(param: Any, context: typer.Context) -> str:
    """Kind and range of an option's value, in words."""
    if param.metavar:
        return f"`{param.metavar}`"
    name = param.display_type(context).strip("<>.").removesuffix(" range")
    if "|" in name:
        return ", ".join(f"`{each}`" for each in name.split("|"))
    kinds = {"str": "text", "int": "whole number", "float": "number", "list[Path]": "paths"}
    said = f"{param.nargs} numbers" if param.nargs > 1 else kinds.get(name, name)
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    bounds = [f"at least {least:g}"] if least is not None else []
    bounds += [f"at most {most}"] if most is not None else []
    return ", ".join([said, *bounds])


def _keys(schema: dict[str, Any], table: str) -> Iterator[tuple[str, str, str]]:
    """Key, kind and default of every value, those of tables under dotted names."""
    shared = schema.get("$defs", {})
    for name, field in schema["properties"].items():
        key = f"{table}{name}"
        inner = shared.get(field.get("$ref", "").rpartition("/")[2])
        if inner:
            yield from _keys({"$defs": shared, **inner}, f"{key}.")
        else:
            required = name in schema.get("required", [])
            default = "required" if required else _plain(field.get("default"))
            yield key, _kind(field), default
    if isinstance(schema.get("additionalProperties"), dict):
        feed = shared[schema["additionalProperties"]["$ref"].rpartition("/")[2]]
        yield from _keys({"$defs": shared, **feed}, f"{table}NAME.")


def _plain(default: Any) -> str:
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"  # as TOML has it
    return f"`{default}`".replace("'", '"') if isinstance(default, list) else f"`{default}`"


def _kind(field: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in field:
        kinds = [_kind(each) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "array":
        return f"list of {_kind(field['items'])}"
    kinds = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    kind = kinds.get(field["type"], field["type"])
    if "exclusiveMinimum" in field:
        kind += f" above {field['exclusiveMinimum']:g}"
    if "minimum" in field:
        kind += f", {field['minimum']:g} to {field['maximum']:g}"
    return kind


if __name__ == "__main__":
    main()
