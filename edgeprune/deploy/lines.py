"""Names that a model file may hold, as one line that a log or a terminal shows as it is."""


def one_line(text: object) -> str:
    """The text without line breaks, control characters or anything else that does not print.

    A node's name is chosen by whoever made the file: a line break in it could forge a line of
    the log (a workflow command on GitHub), an escape sequence could recolour a terminal.
    """
    shown = (c if c.isprintable() else " " for c in str(text))
    return " ".join("".join(shown).split())
