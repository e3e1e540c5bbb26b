"""Repeats a search as a call in Python, where a module or images were passed that have no name."""

import math
import re
from collections.abc import Sequence

from edgeprune.prune.images.names import IN_MEMORY, UNMIRRORED
from edgeprune.prune.models.names import INSTANCE

_OPTION = re.compile(r"--[a-z][a-z-]*")


def has_no_command(words: Sequence[str]) -> bool:
    """Whether a command would have to name a module, images or a score that have no name."""
    return any(word.startswith((INSTANCE, IN_MEMORY)) or word == "--score" for word in words)


def search_call(words: Sequence[str]) -> str:
    """The ``edgeprune.search`` of the same options; ``model`` and ``data`` are the caller's.

    Args:
        words: An ``edgeprune search`` with its options spelt out.
    """
    options = _by_name(words[2:])
    model, data = (" ".join(options.pop(name, [""])) for name in ("model", "data"))
    passed = data.startswith(IN_MEMORY)
    if passed:
        options.pop("image_size", None)  # that of the images
    given = [
        "model" if model.startswith(INSTANCE) else repr(model),
        "data" if passed else repr(data),
    ]
    if data.endswith(UNMIRRORED):
        given.append("flip=False")
    if model.startswith(INSTANCE):
        options.pop("baseline_epochs", None)  # a module is not trained first
    if "score" in options:  # the caller's own function
        given.append(f"score={options.pop('score')[0]}")
    given += [f"{name}={_value(name, values)}" for name, values in options.items()]
    return f"edgeprune.search({', '.join(given)})"


def _by_name(words: Sequence[str]) -> dict[str, list[str]]:
    """The values after each option, by its name in Python."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if _OPTION.fullmatch(word):
            name = word[2:].replace("-", "_")
            found.setdefault(name, [])
        else:
            found[name].append(word)
    return found


def _value(name: str, values: Sequence[str]) -> str:
    if name == "model_arg":
        pairs = (value.partition("=") for value in values)
        return "{" + ", ".join(f"{key!r}: {_plain(value)}" for key, _, value in pairs) + "}"
    if name in ("keep", "only"):
        return repr(tuple(values))
    if name == "image_size":
        values = values[0].split("x")
    if len(values) > 1 or name in ("mean", "std"):
        return f"({', '.join(map(_plain, values))}{',' * (len(values) == 1)})"
    if name == "time_budget":
        return values[0].removesuffix("s")
    if name.startswith("max_") and values[0] == "none":
        return "float('inf')"
    return _plain(values[0]) if values else "True"


def _plain(text: str) -> str:
    """A number or a truth value as it is, anything else as a string."""
    if text in ("true", "false"):
        return text.title()
    try:
        return text if math.isfinite(float(text)) else repr(text)
    except ValueError:
        return repr(text)
