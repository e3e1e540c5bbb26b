"""The commands: parse, call one function, print, exit code."""

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Entry point of the ``edgeprune`` command."""
    app()
