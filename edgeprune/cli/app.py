"""The command line as a whole: every command under one name, and a project's own defaults."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import typer

from edgeprune.cli.command import SETTINGS, Group
from edgeprune.cli.commands.check import check_app
from edgeprune.cli.commands.devices import devices_app
from edgeprune.cli.commands.export import export_app
from edgeprune.cli.commands.files import files_app
from edgeprune.cli.commands.finetune import finetune_app
from edgeprune.cli.commands.networks import networks_app
from edgeprune.cli.commands.runs import runs_app
from edgeprune.cli.commands.search import search_app
from edgeprune.cli.commands.targets import targets_app
from edgeprune.errors import InputError

app = typer.Typer(
    name="edgeprune",
    cls=Group,
    help="The fastest model that keeps its accuracy on a named edge device, measured.",
    epilog="Options may also be set in edgeprune.toml, in [tool.edgeprune] of pyproject.toml, or "
    "in the environment as EDGEPRUNE_COMMAND_OPTION; --print-config shows what counts.",
    no_args_is_help=True,
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
)
for each in (search_app, finetune_app, export_app, check_app, files_app, runs_app, networks_app):
    app.add_typer(each)  # without a name its commands are the app's own
app.add_typer(targets_app, name="targets", help="List target profiles; show, make or check one.")
app.add_typer(devices_app, name="devices", help="Reach devices.")


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Set the defaults of the project's file."""
    from edgeprune.cli import project_file
    from edgeprune.cli.configuration import Configuration
    from edgeprune.cli.reports import report_usage

    known = dict(_options(context.command))
    try:
        project_file.refuse_environment(known, os.environ)
        found, file = project_file.defaults(known)
    except InputError as error:  # the reports that the command line names hear of it
        report_usage(sys.argv[1:], str(error), error.exit_code)
        raise
    _listed(context.command, found)
    context.default_map = found
    context.obj = Configuration(file)


def _listed(group: Any, tables: dict[str, Any]) -> None:
    """A text for an option that may be given several times is one of them."""
    for name, command in group.commands.items():
        table = tables.get(name, {})
        for param in command.params:
            if getattr(param, "multiple", False) and isinstance(table.get(param.name), str):
                table[param.name] = [table[param.name]]
        if hasattr(command, "commands"):
            _listed(command, table)


def _options(group: Any, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command with the options that a file or the environment may set."""
    for name, command in group.commands.items():
        full = f"{path} {name}".strip()
        yield full, {str(p.name) for p in command.params if p.expose_value}
        if hasattr(command, "commands"):
            yield from _options(command, full)
