"""The commands on target profiles: list them, show one."""

from typing import Annotated

import typer

from edgeprune.cli import completion, options
from edgeprune.cli.command import Command, Group

targets_app = typer.Typer(cls=Group)


@targets_app.callback(invoke_without_command=True)
def targets(context: typer.Context, json: options.Json = None) -> None:
    """List target profiles, or show one."""
    if context.invoked_subcommand:
        return
    from edgeprune.cli import console, records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.target import list_targets, load_target

    ready(json)
    known = {name: (path, load_target(str(path))) for name, path in list_targets().items()}
    rows = [(name, each.description, each.proxy_for or "") for name, (_, each) in known.items()]
    headings = ("target", "description", "stands in for")
    tell(
        document("edgeprune.targets/1", records.targets(known)),
        json,
        lambda: console.table(headings, rows),
    )


@targets_app.command("show", cls=Command)
def show_target(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name or path of a target profile.",
            autocompletion=completion.targets,
        ),
    ],
) -> None:
    """Print a profile with every default filled in."""
    from edgeprune.target import load_target

    profile = load_target(name)
    typer.echo(profile.model_dump_json(by_alias=True, indent=2, exclude_none=True))
