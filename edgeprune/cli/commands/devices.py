"""The commands on devices: check, and emulate for an Arm core."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import completion, options
from edgeprune.cli.command import Command, Group

devices_app = typer.Typer(cls=Group, no_args_is_help=True)


@devices_app.command("check", cls=Command)
def check_device(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="local://, ssh://user@host[:port], exec:COMMAND or emulate://CORE.",
            autocompletion=completion.devices,
        ),
    ],
    json: options.Json = None,
) -> None:
    """Reach a device and print its fingerprint."""
    from edgeprune.cli.output import ready, tell
    from edgeprune.deploy.devices.fingerprint import check_device as reach

    ready(json)
    record = reach(uri)
    tell(record.to_json(), json, lambda: typer.echo(record.to_text(), nl=False))


@devices_app.command("emulate", cls=Command)
def emulate_device(
    core: Annotated[
        str,
        typer.Argument(metavar="CORE", help="cortex-a53, cortex-a72, cortex-a76 or neoverse-n1."),
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to build in, about 200 MB; in the user's cache by default.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """Build an Arm core under QEMU, without root rights, for checks of all but its time."""
    from edgeprune.cli.output import ready, tell
    from edgeprune.cli.progress_display import shown
    from edgeprune.deploy.devices.arm_root import build

    ready(json)
    with shown() as progress:
        record = build(core, root, progress)
    tell(record.to_json(), json, lambda: typer.echo(record.to_text(), nl=False))
