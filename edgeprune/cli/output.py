"""Writes a result: for people as text or a table on stdout, for programs as JSON."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from edgeprune.cli.verbosity import verbosity
from edgeprune.files import write_whole


def ready(where: str | None, *read: Path | None) -> None:
    """Make sure, before anything is done, that JSON can be written; an earlier one is removed.

    Args:
        where: What ``--json`` was given.
        read: Files that the command reads; none of them may be the one that is written.

    Raises:
        InputError: it cannot be written where it should.
        MachineError: the disk refuses.
    """
    from edgeprune.cli.reports import Reports

    Reports(json=where, junit=None, github=False).clear(*read)


def tell(document: str, where: str | None, show: Callable[[], None]) -> None:
    """Show a result, and write it as JSON where that is wanted.

    Under ``-`` JSON is alone on stdout, so that it can be piped; people read on stderr.

    Args:
        document: The result as JSON.
        where: What ``--json`` was given: a file, ``-`` or nothing.
        show: Prints the result for people.
    """
    if where != "-":
        show()
        if where:
            write_whole(Path(where), document.encode())
        return
    if not verbosity.quiet:
        with redirect_stdout(sys.stderr):
            show()
    sys.stdout.write(document)


def document(schema: str, content: Mapping[str, Any]) -> str:
    """A result as JSON text; its first key names the schema, such as ``edgeprune.targets/1``."""
    return json.dumps({"schema": schema, **_finite(content)}, indent=2, default=str) + "\n"


def _finite(value: Any) -> Any:
    """The same with None for infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
