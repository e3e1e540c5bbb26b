"""The commands on target profiles: list, show, init, check and add-table."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import completion, options
from edgeprune.cli.command import Command, Group
from edgeprune.errors import InputError

targets_app = typer.Typer(cls=Group)


@targets_app.callback(invoke_without_command=True)
def targets(context: typer.Context, json: options.Json = None) -> None:
    """List target profiles; show, make or check one; give one a latency table."""
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
    json: options.Json = None,
) -> None:
    """Print a profile as TOML with every default filled in, and how its channel grid is known."""
    from edgeprune.cli.output import ready, tell
    from edgeprune.cli.target_file import to_toml
    from edgeprune.deploy.table.carried import find
    from edgeprune.run.known_grid import of_profile
    from edgeprune.target import load_target

    profile = load_target(name)
    ready(json)
    plain = profile.model_dump_json(by_alias=True, indent=2, exclude_none=True) + "\n"
    grid = of_profile(profile, find(profile)[0]).describe()
    tell(plain, json, lambda: typer.echo(to_toml(profile, grid), nl=False))


@targets_app.command("init", cls=Command)
def init_target(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the new profile: lower case, such as my-board."
        ),
    ],
    device: options.Uri = None,
) -> None:
    """Write targets/NAME.toml for a device, its grid of widths and fingerprint measured."""
    from edgeprune.cli.progress_display import shown
    from edgeprune.cli.target_file import new, place_for, to_toml
    from edgeprune.files import disk_errors, write_whole

    path, device = place_for(name), device or "local://"
    with shown() as progress:
        profile = new(name, device, progress)
    with disk_errors(path.parent):
        path.parent.mkdir(exist_ok=True)
    write_whole(path, to_toml(profile).encode(), overwrite=False)
    grid = " ".join(map(str, profile.channels.grid))
    typer.echo(f"{path}: grid {grid}, fingerprint {profile.budget.absolute.fingerprint}")
    typer.echo("next: edit its budgets, then")
    typer.echo(f"  edgeprune targets check {path}")
    where = "" if device == "local://" else f" --device {device}"
    typer.echo(f"  edgeprune search --target {name}{where}")


@targets_app.command("check", cls=Command)
def check_target(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The profile, a TOML file.")],
    json: options.Json = None,
) -> None:
    """Say everything that is wrong with a profile, one line each; exit 2 where there is any."""
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.target import problems
    from edgeprune.text import one_line

    ready(json, file)
    found = [one_line(problem) for problem in problems(file)]
    lines = [f"{file}: {problem}" for problem in found] or [f"{file}: a valid target profile"]
    plain = {"file": str(file), "valid": not found, "problems": found}
    tell(document("edgeprune.target-check/1", plain), json, lambda: typer.echo("\n".join(lines)))
    raise typer.Exit(InputError.exit_code if found else 0)


@targets_app.command("add-table", cls=Command)
def add_table(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The latency table that a probe of the device wrote."),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name or path of the target profile that it is for; the table's own by default.",
            autocompletion=completion.targets,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """Keep a latency table that was measured on a device, for searches without that device."""
    from edgeprune.cli import records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.deploy.table.carried import add

    ready(json, file)
    found, profile = add(file, target)
    conditions, origin = found.table.conditions, found.origin
    networks = len(found.table.networks)
    lines = (
        f"{found.path}: {origin.device} ({conditions.machine}), measured on {origin.measured} "
        f"with onnxruntime {conditions.onnxruntime}, {conditions.dtype}, "
        f"{networks} network{'s' if networks > 1 else ''}",
        "next:",
        f"  edgeprune search --target {target or profile.name}",
    )
    plain = records.carried(found, profile.name)
    tell(document("edgeprune.table/1", plain), json, lambda: typer.echo("\n".join(lines)))
