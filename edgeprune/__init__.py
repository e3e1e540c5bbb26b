"""edgeprune: the fastest model that keeps its accuracy on a named edge device, measured."""

import os
from importlib.metadata import version

# onnxruntime reports home by default since 1.31; a measuring tool must not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("edgeprune")
