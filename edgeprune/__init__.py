"""edgeprune: the fastest model that keeps its accuracy on a named edge device, measured."""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.api import Run, check, doctor, export_onnx, load, search, slim

# onnxruntime reports home by default since 1.31; a measuring tool must not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("edgeprune")
__all__ = [
    "Run",
    "__version__",
    "check",
    "doctor",
    "export_onnx",
    "load",
    "search",
    "slim",
]


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used, so that ``import edgeprune`` is free."""
    if name in __all__:
        return getattr(import_module("edgeprune.api"), name)
    raise AttributeError(f"module 'edgeprune' has no attribute {name!r}")
