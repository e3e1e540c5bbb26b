"""Foreign text as one safe line, the nearest known word, a first problem, short digests."""

import difflib
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MOST = 400  # characters of a line that is still read


def one_line(text: object) -> str:
    """The text without line breaks, control characters or anything else that does not print.

    A node's name is chosen by whoever made the file: a line break in it could forge a line of
    the log (a workflow command on GitHub), an escape sequence could recolour a terminal.
    """
    shown = (c if c.isprintable() else " " for c in str(text))
    return " ".join("".join(shown).split())


def shortened(text: str, rest: str = " ... (all of it in the JSON report)") -> str:
    """At most 400 characters of a line, the last of them ``rest`` where it has more."""
    return text if len(text) <= MOST else text[: MOST - len(rest)].rstrip() + rest


def error_line(error: BaseException) -> str:
    """The kind and the words of an error that others raised, as one line."""
    return one_line(f"{type(error).__name__}: {error}")


def did_you_mean(word: str, known: Iterable[object], *, otherwise: str = "") -> str:
    """``, did you mean 'x'?`` for the known word nearest to ``word``, or ``otherwise``."""
    match = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.4)
    return f", did you mean {match[0]!r}?" if match else otherwise


def duration(seconds: float) -> str:
    """A time as people say it: ``9 s``, ``2 min 05 s``, ``1 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def first_problem(error: "ValidationError") -> tuple[str, str]:
    """The dotted place of the first thing that pydantic refused, and its words."""
    problem = error.errors()[0]
    return ".".join(str(part) for part in problem["loc"]), problem["msg"]


def digest(content: str | bytes) -> str:
    """The first 16 hexadecimal digits of the sha256: enough to identify, not to seal."""
    encoded = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(encoded).hexdigest()[:16]
