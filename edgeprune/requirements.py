"""What the prune wing needs installed, and how torch waits for its threads."""

import os
from collections.abc import Sequence
from importlib.util import find_spec

from edgeprune.errors import MachineError

SEARCH_EXTRA = ("torch", "torchvision", "onnxscript", "deap", "pywt", "sklearn")


def needs_search(user: str, packages: Sequence[str] = SEARCH_EXTRA) -> None:
    """Raise MachineError, with the way to install it, for the first package that is missing.

    Args:
        user: What needs them, such as ``edgeprune search`` or ``edgeprune.load``.
        packages: What it imports of the extra ``search``.
    """
    missing = [name for name in packages if not find_spec(name)]
    if missing:
        raise MachineError(
            f'{user} needs {missing[0]}, which is not installed: pip install "edgeprune[search]"'
        )
    # Read once, when torch is first imported: waiting threads give their core away. With a
    # neighbour on it, a spinning pool trains several times slower than one thread does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
