"""Skips what needs onnxruntime's blocked layout where a processor has none."""

import onnx
import pytest

from tests.graphs import chain, optimised


@pytest.fixture
def blocks() -> None:
    """Skip where onnxruntime has no blocked layout for this processor."""
    nodes = onnx.ModelProto.FromString(optimised(chain(16, 16))).graph.node
    if not any(node.domain == "com.microsoft.nchwc" for node in nodes):
        pytest.skip("onnxruntime has no blocked layout for this processor")
