"""The commands that look at run folders: report."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.command import Command

runs_app = typer.Typer()


@runs_app.command(cls=Command)
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Run folder of a search; several are compared."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="HTML file to write; report.html in the run folder by default, for several "
            "comparison.html here.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
) -> None:
    """Draw what a search came to as one HTML page that needs no network; or compare several."""
    from edgeprune.report.command import write_report

    typer.echo(f"report: {write_report(runs, output)}")
