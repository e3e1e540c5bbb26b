"""ORT format: the flatbuffer that onnxruntime's mobile builds load in place of an ONNX file."""

import tempfile
from pathlib import Path

import onnxruntime

from edgeprune.errors import InputError
from edgeprune.text import error_line


def ort_format(content: bytes) -> bytes:
    """The model of an ONNX file in ORT format.

    It is optimised up to ``extended``: what goes further (the blocked layout) is of one
    processor, and the file is to run on others.

    Raises:
        InputError: onnxruntime does not take the model.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path, options = Path(folder) / "model.ort", onnxruntime.SessionOptions()
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.graph_optimization_level = level
        options.log_severity_level = 4
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise InputError(f"no ORT format: {error_line(error)}") from None
        return path.read_bytes()
