"""Runs a command and ends it with its exit code, and with one line on stderr where it failed."""

import os
import sys
from typing import NoReturn

import typer

from edgeprune.cli.commands import app
from edgeprune.errors import EdgepruneError
from edgeprune.interrupt import interrupt
from edgeprune.text import one_line

INTERRUPTED = 130  # what typer makes of it


def main() -> NoReturn:
    """Run a command; what a user can cause ends in one line and the exit code of its kind."""
    interrupt.watch()
    try:
        code = app(auto_envvar_prefix="EDGEPRUNE", standalone_mode=False)
    except typer.TyperException as error:
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
    try:
        raise error
    except EdgepruneError as known:
        _end(str(known), known.exit_code)
    except MemoryError:
        _end("out of memory; use a smaller model, fewer images or another machine", 3)
    except OSError as refused:
        _end(f"{refused.filename or 'system'}: {refused.strerror or refused}", 3)
    except Exception:
        if os.environ.get("EDGEPRUNE_DEBUG"):
            raise
        what = one_line(repr(error))
        _end(f"internal error: {what}; EDGEPRUNE_DEBUG=1 shows where, please report it", 70)


def _end_usage(message: str, code: int) -> NoReturn:
    """A wrong option is one line; a command without arguments shows its help."""
    if "\n" in message.strip():
        sys.stderr.write(message + "\n")
        sys.exit(code)
    _end(message, code)


def _end(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"edgeprune: {message}\n")
    sys.exit(code)
