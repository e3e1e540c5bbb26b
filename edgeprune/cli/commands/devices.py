"""The commands on devices: check."""

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
            help="Device to reach: local:// or ssh://user@host[:port].",
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
