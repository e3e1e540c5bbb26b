"""The errors a user can meet; each says in one line what is wrong and what to do next."""


class EdgepruneError(Exception):
    """Base of every error that is shown as one line, never as a traceback.

    Attributes:
        exit_code: What the command ends with (the table is in exit-codes.md).
    """

    exit_code = 3

    def __str__(self) -> str:
        """One line, whatever names and reasons went into it."""
        return " ".join(super().__str__().split())


class PromiseError(EdgepruneError):
    """A promise not kept: a budget out of reach, divergence, parity failed, a seal broken."""

    exit_code = 1


class InputError(EdgepruneError):
    """A wrong request or a wrong input: a file, a name, a value, a shape."""

    exit_code = 2


class MachineError(EdgepruneError):
    """It cannot run here: disk, memory, device, provider, a missing package, measuring."""

    exit_code = 3
