"""The commands that look at run folders: report and runs."""

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


@runs_app.command(cls=Command)
def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds run folders, or one of them.")
    ] = Path("runs"),
    json: options.Json = None,
) -> None:
    """List run folders with their verdicts, the latest last."""
    from edgeprune.cli import console, records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.run.listing import runs_in

    found = runs_in(folder)
    ready(json)
    plain = document("edgeprune.runs/1", records.runs(found))
    tell(plain, json, lambda: console.show_runs(found))
