"""Runs a command and ends it with its exit code, and with one line on stderr where it failed."""

import os
import sys
from typing import NoReturn

import typer

from edgeprune.cli.app import app
from edgeprune.cli.ending import INTERNAL, ending
from edgeprune.cli.reports import report_usage
from edgeprune.cli.verbosity import verbosity
from edgeprune.interrupt import interrupt
from edgeprune.text import one_line, shortened

INTERRUPTED = 130  # what typer makes of it


def main() -> NoReturn:
    """Run a command; what a user can cause ends in one line and the exit code of its kind."""
    interrupt.watch()
    verbosity.reset()
    try:
        code = app(prog_name="edgeprune", auto_envvar_prefix="EDGEPRUNE", standalone_mode=False)
    except typer.TyperException as error:
        _end_usage(error)
    except (Exception, KeyboardInterrupt) as error:
        _end_by(error)
    if code == INTERRUPTED:
        _end(*interrupt.ending())
    sys.exit(code)


def _end_by(error: BaseException) -> NoReturn:
    """Say in one line what stopped the command."""
    if interrupt.number is not None or isinstance(error, KeyboardInterrupt):
        _end(*interrupt.ending())
    message, code = ending(error)
    if code == INTERNAL and (verbosity.verbose or os.environ.get("EDGEPRUNE_DEBUG")):
        raise error
    _end(message, code)


def _end_usage(error: typer.TyperException) -> NoReturn:
    """A wrong option is one line; a command without arguments shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":  # which typer does not export
        sys.stderr.write(error.format_message() + "\n")
        sys.exit(error.exit_code)
    message = one_line(error.format_message())  # it quotes what was typed
    report_usage(sys.argv[1:], message, error.exit_code)
    _end(message, error.exit_code)


def _end(message: str, code: int) -> NoReturn:
    sys.stderr.write(shortened(f"edgeprune: {message}", " ...") + "\n")
    sys.exit(code)
