"""Names that a model file may hold, as one line that a log or a terminal shows as it is."""

import difflib
from typing import Any


def one_line(text: object) -> str:
    """The text without line breaks, control characters or anything else that does not print.

    A node's name is chosen by whoever made the file: a line break in it could forge a line of
    the log (a workflow command on GitHub), an escape sequence could recolour a terminal.
    """
    shown = (c if c.isprintable() else " " for c in str(text))
    return " ".join("".join(shown).split())


def nearest(word: str, known: Any) -> str:
    """``, did you mean 'x'?`` for the known word nearest to ``word``, or an empty string."""
    match = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.4)
    return f", did you mean {match[0]!r}?" if match else ""
