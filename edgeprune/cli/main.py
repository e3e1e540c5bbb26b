"""Runs a command and ends it with its exit code, and with one line on stderr where it failed."""

import os
import sys
from typing import NoReturn

import typer

from edgeprune.cli.commands import app
from edgeprune.cli.ending import INTERNAL, ending
from edgeprune.cli.reports import report_usage
from edgeprune.interrupt import interrupt
from edgeprune.text import shortened

INTERRUPTED = 130  # what typer makes of it


def main() -> NoReturn:
    """Run a command; what a user can cause ends in one line and the exit code of its kind."""
    interrupt.watch()
    try:
        code = app(auto_envvar_prefix="EDGEPRUNE", standalone_mode=False)
    except typer.TyperException as error:
        report_usage(sys.argv[1:], error.format_message(), error.exit_code)
        _end_usage(error.format_message(), error.exit_code)
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
    if code == INTERNAL and os.environ.get("EDGEPRUNE_DEBUG"):
        raise error
    _end(message, code)


def _end_usage(message: str, code: int) -> NoReturn:
    """A wrong option is one line; a command without arguments shows its help."""
    if "\n" in message.strip():
        sys.stderr.write(message + "\n")
        sys.exit(code)
    _end(message, code)


def _end(message: str, code: int) -> NoReturn:
    sys.stderr.write(shortened(f"edgeprune: {message}", " ...") + "\n")
    sys.exit(code)
