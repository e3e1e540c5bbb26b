"""How a command ends: the exit code and the one line for whatever stopped it."""

from edgeprune.errors import EdgepruneError
from edgeprune.text import one_line

INTERNAL = 70


def ending(error: BaseException) -> tuple[str, int]:
    """One line that says what was wrong and what to do next, and the exit code of its kind."""
    if isinstance(error, EdgepruneError):
        return one_line(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller model, fewer images or another machine", 3
    if isinstance(error, OSError):
        return one_line(f"{error.filename or 'system'}: {error.strerror or error}"), 3
    said = one_line(repr(error))
    return (
        f"internal error: {said}; -v or EDGEPRUNE_DEBUG=1 shows where, please report it",
        INTERNAL,
    )
