"""The commands on target profiles: list them, show one."""

from typing import Annotated

import typer

from edgeprune.cli import completion
from edgeprune.cli.command import Command, Group

targets_app = typer.Typer(cls=Group)


@targets_app.callback(invoke_without_command=True)
def targets(context: typer.Context) -> None:
    """List target profiles, or show one."""
    if context.invoked_subcommand:
        return
    from edgeprune.cli import console
    from edgeprune.target import list_targets, load_target

    profiles = [(name, load_target(str(path))) for name, path in list_targets().items()]
    rows = [(name, profile.description, profile.proxy_for or "") for name, profile in profiles]
    console.table(("target", "description", "stands in for"), rows)


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
