"""The Python interface, with the words and defaults of the commands."""

from edgeprune.api.files import check, doctor, export_onnx
from edgeprune.api.networks import load, slim
from edgeprune.api.runs import Run, search

__all__ = ["Run", "check", "doctor", "export_onnx", "load", "search", "slim"]
