"""Import of a network factory that a user wrote and named as ``package.module:factory``."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeprune.errors import InputError
from edgeprune.text import error_line

Plain = str | int | float | bool


def imported(name: str) -> Callable[..., object]:
    """Import ``package.module:factory``, also from the working directory; runs the module's code.

    Raises:
        InputError: The module cannot be imported, or has no such function.
    """
    module_name, _, attribute = name.partition(":")
    with working_directory_importable():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise InputError(
                f"cannot import {module_name!r} of model {name}: {error_line(error)}"
            ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise InputError(
            f"module {module_name} has no function {attribute!r}; "
            "name the factory as package.module:factory"
        )
    found: Callable[..., object] = factory
    return found


@contextlib.contextmanager
def working_directory_importable() -> Iterator[None]:
    """A console script's ``sys.path`` lacks the working directory; ``python -m`` has it."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
